# Google's sign-in page in front of the service, for the members. docs/deploy.md says what has to be there before.
resource "google_cloud_run_v2_service_iam_member" "iap" {
  count = var.access == "iap" ? 1 : 0

  name     = google_cloud_run_v2_service.mage.name
  location = google_cloud_run_v2_service.mage.location
  role     = "roles/run.invoker"
  member   = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-iap.iam.gserviceaccount.com"

  lifecycle {
    replace_triggered_by = [google_cloud_run_v2_service.mage.uid] # a new service has no grants
  }
}

resource "google_iap_web_cloud_run_service_iam_member" "member" {
  for_each = var.access == "iap" ? toset(var.members) : []

  cloud_run_service_name = google_cloud_run_v2_service.mage.name
  location               = google_cloud_run_v2_service.mage.location
  role                   = "roles/iap.httpsResourceAccessor"
  member                 = each.value

  lifecycle {
    replace_triggered_by = [google_cloud_run_v2_service.mage.uid] # a new service has no grants
  }
}
