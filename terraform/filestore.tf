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

  depends_on = [google_project_service.this]
}
