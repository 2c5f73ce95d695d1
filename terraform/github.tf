# GitHub says who runs a workflow, and Google believes it for one branch of one repository: no key anywhere.
resource "google_iam_workload_identity_pool" "github" {
  count = local.github

  # A pool that was destroyed keeps its name for 30 days.
  workload_identity_pool_id = "${substr(var.name, 0, 18)}-github-${random_id.suffix.hex}" # 32 characters at most

  depends_on = [google_project_service.this]
}

resource "google_iam_workload_identity_pool_provider" "github" {
  count = local.github

  workload_identity_pool_id          = google_iam_workload_identity_pool.github[0].workload_identity_pool_id
  workload_identity_pool_provider_id = "github"

  #checkov:skip=CKV_GCP_125:wants assertion.sub, whose form a repository can change; repository and ref cannot be
  attribute_condition = join(" && ", concat(
    ["assertion.repository == '${var.github.repository}'", "assertion.ref == 'refs/heads/${var.github.branch}'"],
    # A name can be taken by somebody else after a rename; a number cannot.
    var.github.repository_id == null ? [] : ["assertion.repository_id == '${var.github.repository_id}'"],
  ))
  attribute_mapping = {
    "google.subject"       = "assertion.sub"
    "attribute.repository" = "assertion.repository"
  }

  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }
}

resource "google_service_account" "deployer" {
  count = local.github

  account_id   = "${var.name}-deploy"
  display_name = "GitHub's deploy.yml"

  depends_on = [google_project_service.this]
}

resource "google_service_account_iam_member" "deployer_is_github" {
  count = local.github

  service_account_id = google_service_account.deployer[0].name
  role               = "roles/iam.workloadIdentityUser"
  member             = "principalSet://iam.googleapis.com/${google_iam_workload_identity_pool.github[0].name}/attribute.repository/${var.github.repository}"
}

# Pushes images to this one repository, makes revisions of this one service, and says that they run as Mage. No more.
resource "google_artifact_registry_repository_iam_member" "deployer" {
  count = local.github

  repository = google_artifact_registry_repository.images.name
  location   = google_artifact_registry_repository.images.location
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.deployer[0].member
}

resource "google_cloud_run_v2_service_iam_member" "deployer" {
  count = local.github

  name     = google_cloud_run_v2_service.mage.name
  location = google_cloud_run_v2_service.mage.location
  role     = "roles/run.developer"
  member   = google_service_account.deployer[0].member

  lifecycle {
    replace_triggered_by = [google_cloud_run_v2_service.mage.uid] # a new service has no grants
  }
}

resource "google_service_account_iam_member" "deployer_acts_as_mage" {
  count = local.github

  service_account_id = google_service_account.mage.name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.deployer[0].member
}
