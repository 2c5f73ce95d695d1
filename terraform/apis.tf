locals {
  apis = toset(concat(
    [
      "artifactregistry.googleapis.com",
      "bigquery.googleapis.com",
      "cloudresourcemanager.googleapis.com",
      "iam.googleapis.com",
      "run.googleapis.com",
      "secretmanager.googleapis.com",
      "sqladmin.googleapis.com",
      "storage.googleapis.com",
    ],
    local.filestore == 1 ? ["compute.googleapis.com", "file.googleapis.com"] : [],
    local.load_balancer == 1 ? ["compute.googleapis.com"] : [],
    var.access == "iap" ? ["iap.googleapis.com"] : [],
    local.github == 1 ? ["iamcredentials.googleapis.com", "sts.googleapis.com"] : [],
    var.budget != null ? ["billingbudgets.googleapis.com"] : [],
  ))
}

resource "google_project_service" "this" {
  for_each = local.apis

  service = each.value
  # Something else in the project may use it too.
  disable_on_destroy = false
}

data "google_project" "this" {
  depends_on = [google_project_service.this]
}

# What has a region waits for this, so that a wrong one leaves nothing half made.
data "google_cloud_run_locations" "this" {
  depends_on = [google_project_service.this]

  lifecycle {
    postcondition {
      condition     = contains(self.locations, var.region)
      error_message = "region ${var.region}: Cloud Run is not there. `gcloud run regions list` has the regions."
    }
  }
}
