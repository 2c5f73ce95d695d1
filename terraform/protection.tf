# While deletion_protection is true, these two refuse a destroy before anything is gone. Google's own protection comes too
# late for that: the service goes first, then secrets, and the databases are out of the state before their instance is
# asked. The service itself has none: a first start that failed must be replaced.
locals {
  protected = "echo 'deletion_protection is on: terraform apply -var deletion_protection=false, then destroy' >&2; exit 1"
}

resource "terraform_data" "protected_data" {
  input = var.deletion_protection ? local.protected : "true"

  provisioner "local-exec" {
    when        = destroy
    interpreter = ["bash", "-c"]
    command     = self.output
    quiet       = true
  }

  depends_on = [
    google_artifact_registry_repository.images,
    google_bigquery_dataset.marts,
    google_bigquery_dataset.trips,
    google_filestore_instance.this,
    google_secret_manager_secret_version.own,
    google_sql_database.this,
    google_sql_user.mage,
    google_storage_bucket.lake,
  ]
}

resource "terraform_data" "protected_service" {
  input = terraform_data.protected_data.output

  provisioner "local-exec" {
    when        = destroy
    interpreter = ["bash", "-c"]
    command     = self.output
    quiet       = true
  }

  depends_on = [google_cloud_run_v2_service.mage]
}
