# The tables in it are the project's own: docs/bigquery.md.
resource "google_bigquery_dataset" "trips" {
  dataset_id                 = var.dataset
  location                   = local.data_location
  delete_contents_on_destroy = !var.deletion_protection

  #checkov:skip=CKV_GCP_81:Google's own key encrypts it; a key of one's own costs, and lost, loses everything

  depends_on = [data.google_cloud_run_locations.this]
}

# What dbt makes of them, in the pipeline trips_to_marts: docs/marts.md.
resource "google_bigquery_dataset" "marts" {
  dataset_id                 = "${var.dataset}_marts"
  location                   = local.data_location
  delete_contents_on_destroy = !var.deletion_protection

  #checkov:skip=CKV_GCP_81:Google's own key encrypts it; a key of one's own costs, and lost, loses everything

  depends_on = [data.google_cloud_run_locations.this]
}
