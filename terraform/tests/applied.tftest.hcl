# What is only known after an apply: the project's number is read once its APIs are on. Here all of it is made up.

mock_provider "google" {
  mock_data "google_cloud_run_locations" {
    defaults = { locations = ["us-central1"] }
  }
  mock_data "google_project" {
    defaults = { number = "123456789" }
  }
  mock_resource "google_cloud_run_v2_service" {
    defaults = { latest_created_revision = "mage-00001", latest_ready_revision = "mage-00001" }
  }
  mock_resource "google_service_account" {
    defaults = {
      email  = "mage-run@my-project.iam.gserviceaccount.com"
      member = "serviceAccount:mage-run@my-project.iam.gserviceaccount.com"
      name   = "projects/my-project/serviceAccounts/mage-run@my-project.iam.gserviceaccount.com"
    }
  }
}
mock_provider "time" {}

variables {
  project_id          = "my-project"
  owner_email         = "me@example.org"
  image               = "us-central1-docker.pkg.dev/my-project/mage/nyc-taxi-mage:1"
  deletion_protection = false
}

run "googles_sign_in_page" {
  command   = apply
  state_key = "iap"

  variables {
    access  = "iap"
    members = ["user:me@example.org"]
  }
  assert {
    condition     = google_cloud_run_v2_service.mage.iap_enabled && google_cloud_run_v2_service_iam_member.iap[0].member == "serviceAccount:service-123456789@gcp-sa-iap.iam.gserviceaccount.com"
    error_message = "Only the sign-in page itself may call the service."
  }
  assert {
    condition     = length(google_iap_web_cloud_run_service_iam_member.member) == 1 && length(google_cloud_run_v2_service_iam_member.member) == 0
    error_message = "And the members, the sign-in page."
  }
  assert {
    condition     = contains(keys(google_project_service.this), "iap.googleapis.com")
    error_message = "Its API is on."
  }
}

run "public" {
  command   = apply
  state_key = "public"

  variables {
    access = "public"
  }
  assert {
    condition     = google_cloud_run_v2_service.mage.invoker_iam_disabled && length(google_cloud_run_v2_service_iam_member.member) == 0
    error_message = "Mage's own sign-in is all there is, without a grant to allUsers, which many organisations forbid."
  }
  assert {
    condition     = one([for env in google_cloud_run_v2_service.mage.template[0].containers[0].env : env.value if env.name == "MAGE_PUBLIC_HOST"]) == "https://mage-123456789.us-central1.run.app"
    error_message = "Links in messages lead there."
  }
  assert {
    condition     = google_cloud_run_v2_service.mage.template[0].containers[0].startup_probe[0].http_get[0].path == "/front-door"
    error_message = "An image without this project's patches does not come up."
  }
}

run "outputs" {
  command   = apply
  state_key = "iam"

  assert {
    condition     = output.open_command == "gcloud run services proxy mage --project my-project --region us-central1 --port 6789"
    error_message = "How the owner comes in."
  }
  assert {
    condition     = output.password_command == "gcloud secrets versions access latest --project my-project --secret mage-owner-password"
    error_message = "And with what."
  }
}
