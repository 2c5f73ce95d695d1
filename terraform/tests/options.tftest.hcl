# What is only there when it is asked for.

mock_provider "google" {
  mock_data "google_cloud_run_locations" {
    defaults = { locations = ["europe-west1", "us-central1"] }
  }
}
mock_provider "time" {}

variables {
  project_id  = "my-project"
  owner_email = "me@example.org"
  image       = "us-central1-docker.pkg.dev/my-project/mage/nyc-taxi-mage@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
}

run "members_come_by_the_proxy" {
  command = plan

  variables {
    members = ["user:colleague@example.org"]
  }
  assert {
    condition     = toset([for grant in google_cloud_run_v2_service_iam_member.member : "${grant.role} ${grant.member}"]) == toset(["roles/run.invoker user:colleague@example.org", "roles/run.viewer user:colleague@example.org"])
    error_message = "gcloud's proxy looks the service up, and calls it. Both on this service."
  }
}

run "a_load_balancer" {
  command = plan

  variables {
    access        = "load_balancer"
    load_balancer = { domain = "mage.example.org" }
  }
  assert {
    condition     = google_cloud_run_v2_service.mage.ingress == "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER" && google_cloud_run_v2_service.mage.default_uri_disabled
    error_message = "No way past it."
  }
  assert {
    condition     = google_cloud_run_v2_service.mage.template[0].containers[0].startup_probe[0].http_get[0].path == "/front-door"
    error_message = "An image without this project's patches does not come up."
  }
  assert {
    condition     = length(google_compute_security_policy.mage) == 0 && google_compute_backend_service.mage[0].load_balancing_scheme == "EXTERNAL_MANAGED"
    error_message = "Without Cloud Armor it is within the free trial's quota."
  }
  assert {
    condition     = google_compute_ssl_policy.mage[0].min_tls_version == "TLS_1_2"
    error_message = "No old TLS."
  }
}

run "cloud_armor" {
  command = plan

  variables {
    access        = "load_balancer"
    load_balancer = { domain = "mage.example.org", allowed_ranges = ["192.0.2.0/24"] }
  }
  assert {
    condition     = toset([for rule in google_compute_security_policy.mage[0].rule : rule.action]) == toset(["allow", "deny(403)"])
    error_message = "Some networks, and nobody else."
  }
}

run "git_with_a_token" {
  command = plan

  variables {
    git = { url = "https://github.com/me/my-trips.git", token_secret = "git-token" }
  }
  assert {
    condition = {
      for env in google_cloud_run_v2_service.mage.template[0].containers[0].env : env.name => env.value if startswith(env.name, "GIT_") && length(env.value_source) == 0
      } == {
      GIT_AUTH_TYPE = "https"
      GIT_BRANCH    = "main"
      GIT_EMAIL     = "mage@localhost.local"
      GIT_REPO_LINK = "https://github.com/me/my-trips.git"
      GIT_USERNAME  = "git"
    }
    error_message = "What the container's start reads."
  }
  assert {
    condition     = one([for env in google_cloud_run_v2_service.mage.template[0].containers[0].env : env.value_source[0].secret_key_ref[0].secret if env.name == "GIT_ACCESS_TOKEN"]) == "git-token"
    error_message = "The token stays in Secret Manager."
  }
  assert {
    condition     = [for grant in google_secret_manager_secret_iam_member.given : grant.secret_id] == ["git-token"]
    error_message = "And Mage may read it."
  }
}

run "git_with_a_key" {
  command = plan

  variables {
    git = {
      url            = "git@github.com:me/my-trips.git"
      ssh_key_secret = "git-key"
      known_hosts    = "github.com ssh-ed25519 AAAA"
    }
  }
  assert {
    condition = {
      for env in google_cloud_run_v2_service.mage.template[0].containers[0].env : env.name => try(env.value_source[0].secret_key_ref[0].secret, env.value) if contains(["GIT_AUTH_TYPE", "GIT_KNOWN_HOSTS", "GIT_SSH_PRIVATE_KEY"], env.name)
      } == {
      GIT_AUTH_TYPE       = "ssh"
      GIT_KNOWN_HOSTS     = "github.com ssh-ed25519 AAAA"
      GIT_SSH_PRIVATE_KEY = "git-key"
    }
    error_message = "The key, and the only host it is shown to."
  }
}

run "messages" {
  command = plan

  variables {
    env        = { SMTP_HOST = "smtp.example.org" }
    secret_env = { SLACK_WEBHOOK_URL = "slack-webhook", SMTP_PASSWORD = "smtp-password" }
  }
  assert {
    condition     = length(google_secret_manager_secret_iam_member.given) == 2
    error_message = "Both secrets may be read."
  }
}

run "staged_files_on_a_disk" {
  command = plan

  variables {
    staging = { gib = 20, disk = true }
  }
  assert {
    condition     = google_cloud_run_v2_service.mage.launch_stage == "BETA" && one([for volume in google_cloud_run_v2_service.mage.template[0].volumes : volume.empty_dir[0].medium if volume.name == "staging"]) == "DISK"
    error_message = "It is a preview of Google's."
  }
}

run "filestore" {
  command = plan

  variables {
    filestore = { zone = "us-central1-a" }
  }
  assert {
    condition     = google_filestore_instance.this[0].file_shares[0].capacity_gb == 1024
    error_message = "The least there is."
  }
  assert {
    condition     = [for volume in google_cloud_run_v2_service.mage.template[0].volumes : volume.name] == ["staging", "filestore", "cloudsql"]
    error_message = "Staged files are not on it: it has no locks."
  }
  assert {
    condition     = one([for env in google_cloud_run_v2_service.mage.template[0].containers[0].env : env.value if env.name == "MAGE_DATA_DIR"]) == "/mnt/mage/data"
    error_message = "What Mage keeps is."
  }
}

run "the_executor" {
  command = plan

  variables {
    cloud_run_executor = true
  }
  assert {
    condition     = toset([for right in google_project_iam_custom_role.executor[0].permissions : right if !startswith(right, "run.jobs.")]) == toset(["run.executions.get", "run.operations.get", "run.services.get"])
    error_message = "It makes and runs jobs, and changes no service."
  }
  assert {
    condition     = length(google_service_account_iam_member.executor_acts_as_mage) == 1 && google_artifact_registry_repository_iam_member.executor[0].role == "roles/artifactregistry.reader"
    error_message = "As itself, of an image that it may read."
  }
}

run "github_deploys" {
  command = plan

  variables {
    github = { repository = "me/my-trips" }
  }
  assert {
    condition     = google_iam_workload_identity_pool_provider.github[0].attribute_condition == "assertion.repository == 'me/my-trips' && assertion.ref == 'refs/heads/main'"
    error_message = "One branch of one repository."
  }
  assert {
    condition = toset([
      google_artifact_registry_repository_iam_member.deployer[0].role,
      google_cloud_run_v2_service_iam_member.deployer[0].role,
      google_service_account_iam_member.deployer_acts_as_mage[0].role,
      google_service_account_iam_member.deployer_is_github[0].role,
      ]) == toset([
      "roles/artifactregistry.writer", "roles/run.developer", "roles/iam.serviceAccountUser", "roles/iam.workloadIdentityUser",
    ])
    error_message = "Each on the one thing it is for."
  }
}

run "github_deploys_for_one_number" {
  command = plan

  variables {
    github = { repository = "me/my-trips", repository_id = "123456" }
  }
  assert {
    condition     = endswith(google_iam_workload_identity_pool_provider.github[0].attribute_condition, " && assertion.repository_id == '123456'")
    error_message = "Who takes the name later has another number."
  }
}

run "many_months_at_once" {
  command = plan

  variables {
    cloud_run_executor = true
    months_at_once     = 20
    database           = { tier = "db-custom-1-3840" }
  }
  assert {
    condition     = one([for flag in google_sql_database_instance.postgres.settings[0].database_flags : flag.value if flag.name == "max_connections"]) == "60"
    error_message = "Two connections each."
  }
}

run "a_budget" {
  command = plan

  variables {
    budget = { billing_account = "000000-000000-000000", amount = 100 }
  }
  assert {
    condition     = [for rule in google_billing_budget.this[0].threshold_rules : rule.threshold_percent] == [0.5, 0.9, 1.0]
    error_message = "Three mails."
  }
}
