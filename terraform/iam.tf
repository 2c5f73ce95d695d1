# Who Mage is. Everything it may do is in this file and beside each secret: no Owner, no Editor, no *Admin.
resource "google_service_account" "mage" {
  account_id   = "${var.name}-run"
  display_name = "Mage on Cloud Run"

  depends_on = [google_project_service.this]
}

resource "google_project_iam_member" "mage" {
  for_each = toset(concat(
    [
      "roles/bigquery.jobUser", # runs queries and load jobs; which tables they may touch, the data set says
      "roles/cloudsql.client",
    ],
    # Makes, runs and deletes one Cloud Run job per block.
    local.executor == 1 ? ["roles/run.developer"] : [],
  ))

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

# The executor's jobs run as Mage too.
resource "google_service_account_iam_member" "executor_acts_as_mage" {
  count = local.executor

  service_account_id = google_service_account.mage.name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.mage.member
}
