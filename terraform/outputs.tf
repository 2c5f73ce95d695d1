output "url" {
  description = "The address of the service."
  value       = local.load_balancer == 1 ? local.public_url : google_cloud_run_v2_service.mage.uri
}

# Not a check, which would warn at the first plan that it knows nothing yet.
output "newest_revision" {
  description = "Whether the newest revision serves, and what to do when it does not."
  value = google_cloud_run_v2_service.mage.latest_ready_revision == google_cloud_run_v2_service.mage.latest_created_revision ? "serves" : join(" ", [
    "did not start, and the one before it serves. Read its log, correct the cause, and have it started again, which an",
    "apply without changes does not do:",
    "gcloud run services update ${var.name} --region ${var.region} --update-labels restarted=$(date +%s)",
  ])
}

output "open_command" {
  description = "With access iam: brings Mage to http://localhost:6789."
  value       = var.access == "iam" ? "gcloud run services proxy ${var.name} --project ${var.project_id} --region ${var.region} --port 6789" : null
}

output "password_command" {
  description = "Prints the password that the owner first signs in with."
  value       = "gcloud secrets versions access latest --project ${var.project_id} --secret ${google_secret_manager_secret.own["DEFAULT_OWNER_PASSWORD"].secret_id}"
}

# Not a variable: Terraform cannot read the database's user while the database is stopped, so that no plan would work.
output "pause_command" {
  description = "Ends the instance and stops the database. What is stored stays."
  value       = "${local.scale} 0 && ${local.activate} NEVER"
}

output "resume_command" {
  description = "Starts the database and the instance again."
  value       = "${local.activate} ALWAYS && ${local.scale} 1"
}

locals {
  scale    = "gcloud beta run services update ${var.name} --project ${var.project_id} --region ${var.region} --scaling"
  activate = "gcloud sql instances patch ${google_sql_database_instance.postgres.name} --project ${var.project_id} --activation-policy"
}

output "image_repository" {
  description = "Where this project's images go: IMAGE_REPOSITORY/nyc-taxi-mage:TAG."
  value       = local.registry
}

output "bucket" {
  description = "The lake: GCS_BUCKET."
  value       = google_storage_bucket.lake.name
}

output "dataset" {
  description = "The BigQuery data set: BIGQUERY_DATASET."
  value       = google_bigquery_dataset.trips.dataset_id
}

output "database" {
  description = "The instance of Cloud SQL, as gcloud and the Cloud SQL proxy name it."
  value       = google_sql_database_instance.postgres.connection_name
}

output "service_account" {
  description = "Who Mage is on Google Cloud."
  value       = google_service_account.mage.email
}

output "address" {
  description = "With access load_balancer: where the domain's A record must point."
  value       = one(google_compute_global_address.mage[*].address)
}

output "github_variables" {
  description = "With github: the repository's variables that deploy.yml reads."
  value = local.github == 0 ? null : {
    GCP_PROJECT                    = var.project_id
    GCP_REGION                     = var.region
    GCP_SERVICE                    = var.name
    GCP_IMAGE_REPOSITORY           = local.registry
    GCP_DEPLOYER                   = google_service_account.deployer[0].email
    GCP_WORKLOAD_IDENTITY_PROVIDER = google_iam_workload_identity_pool_provider.github[0].name
  }
}

output "leftovers_command" {
  description = "After a destroy: lists what is still there."
  value       = "./leftovers.sh ${var.project_id} ${var.region} ${var.name}"
}
