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
