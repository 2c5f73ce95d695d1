# Who Mage is. Everything it may do is in this file and beside each secret: no Owner, no Editor, no *Admin.
resource "google_service_account" "mage" {
  account_id   = "${var.name}-run"
  display_name = "Mage on Cloud Run"

  depends_on = [google_project_service.this]
}

resource "google_project_iam_member" "mage" {
  for_each = toset([
    "roles/bigquery.jobUser", # runs queries and load jobs; which tables they may touch, the data set says
    "roles/cloudsql.client",
  ])

  project = var.project_id
  role    = each.value
  member  = google_service_account.mage.member
}

resource "google_storage_bucket_iam_member" "mage" {
  for_each = toset([
    "roles/storage.objectUser",
    "roles/storage.legacyBucketReader", # storage.buckets.get: Mage's own client looks the bucket up first
  ])

  bucket = google_storage_bucket.lake.name
  role   = each.value
  member = google_service_account.mage.member
}

resource "google_bigquery_dataset_iam_member" "mage" {
  dataset_id = google_bigquery_dataset.trips.dataset_id
  role       = "roles/bigquery.dataEditor"
  member     = google_service_account.mage.member
}

resource "google_bigquery_dataset_iam_member" "marts" {
  dataset_id = google_bigquery_dataset.marts.dataset_id
  role       = "roles/bigquery.dataEditor"
  member     = google_service_account.mage.member
}

# The executor makes, runs and deletes one job per block, and copies the service for it. roles/run.developer could also
# change and delete every service of the project.
resource "google_project_iam_custom_role" "executor" {
  count = local.executor

  # A role that was deleted keeps its name for a while.
  role_id = "${replace(var.name, "-", "_")}_executor_${random_id.suffix.hex}"
  title   = "Jobs of ${var.name}"
  permissions = [
    "run.executions.get",
    "run.jobs.create",
    "run.jobs.delete",
    "run.jobs.get",
    "run.jobs.run",
    "run.operations.get",
    "run.services.get",
  ]

  depends_on = [google_project_service.this]
}

resource "google_project_iam_member" "executor" {
  count = local.executor

  project = var.project_id
  role    = google_project_iam_custom_role.executor[0].name
  member  = google_service_account.mage.member
}

# Cloud Run asks this of whoever makes a job of an image.
resource "google_artifact_registry_repository_iam_member" "executor" {
  count = local.executor

  repository = google_artifact_registry_repository.images.name
  location   = google_artifact_registry_repository.images.location
  role       = "roles/artifactregistry.reader"
  member     = google_service_account.mage.member
}

# The executor's jobs run as Mage too.
resource "google_service_account_iam_member" "executor_acts_as_mage" {
  count = local.executor

  service_account_id = google_service_account.mage.name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.mage.member
}
