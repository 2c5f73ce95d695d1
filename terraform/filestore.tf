# 1 TB is the least there is: some 160 to 200 USD a month, used or not.
resource "google_filestore_instance" "this" {
  count = local.filestore

  name     = var.name
  location = var.filestore.zone
  tier     = var.filestore.tier

  deletion_protection_enabled = var.deletion_protection

  file_shares {
    name        = "mage"
    capacity_gb = var.filestore.capacity_gb
  }

  networks {
    network = var.filestore.network
    modes   = ["MODE_IPV4"]
  }

  depends_on = [data.google_cloud_run_locations.this]
}

# A new share is root's, and Mage is not root: a job of one second opens it, before the service's first start.
resource "terraform_data" "filestore_opened" {
  count = local.filestore

  triggers_replace = google_filestore_instance.this[0].id

  provisioner "local-exec" {
    interpreter = ["bash", "-c"]
    environment = {
      NAME   = "${var.name}-filestore"
      WHERE  = "--project ${var.project_id} --region ${var.region} --quiet"
      DISK   = "name=disk,type=nfs,location=${google_filestore_instance.this[0].networks[0].ip_addresses[0]}:/mage"
      SUBNET = "--network ${var.filestore.network} --subnet ${var.filestore.subnetwork} --vpc-egress private-ranges-only"
    }
    command = <<-EOT
      set -eu
      gcloud run jobs deploy "$NAME" $WHERE $SUBNET --image mirror.gcr.io/library/busybox:1.37 \
        --add-volume "$DISK" --add-volume-mount volume=disk,mount-path=/disk \
        --command chmod --args 0777,/disk --execute-now --wait
      gcloud run jobs delete "$NAME" $WHERE
    EOT
  }
}
