# What a plan refuses, before anything is made.

mock_provider "google" {
  mock_data "google_cloud_run_locations" {
    defaults = { locations = ["europe-west1", "us-central1"] }
  }
}
mock_provider "time" {}

variables {
  project_id  = "my-project"
  owner_email = "me@example.org"
  image       = "us-central1-docker.pkg.dev/my-project/mage/nyc-taxi-mage:1"
}

run "no_image" {
  command         = plan
  expect_failures = [google_cloud_run_v2_service.mage]
  variables {
    image = null
  }
}

run "mages_own_image_which_has_no_project" {
  command         = plan
  expect_failures = [google_cloud_run_v2_service.mage]
  variables {
    image = "us-central1-docker.pkg.dev/my-project/hub/mageai/mageai:0.9.80"
  }
}

run "an_image_that_cloud_run_cannot_read" {
  command         = plan
  expect_failures = [var.image]
  variables {
    image = "ghcr.io/me/nyc-taxi-mage:1"
  }
}

run "the_latest_image" {
  command         = plan
  expect_failures = [var.image]
  variables {
    image = "us-central1-docker.pkg.dev/my-project/mage/nyc-taxi-mage:latest"
  }
}

run "an_image_without_a_tag" {
  command         = plan
  expect_failures = [var.image]
  variables {
    image = "us-central1-docker.pkg.dev/my-project/mage/nyc-taxi-mage"
  }
}

run "mages_default_owner" {
  command         = plan
  expect_failures = [var.owner_email]
  variables {
    owner_email = "Admin@admin.com"
  }
}

run "everyone_as_a_member" {
  command         = plan
  expect_failures = [var.members]
  variables {
    members = ["allUsers"]
  }
}

run "a_sign_in_page_for_nobody" {
  command         = plan
  expect_failures = [var.members]
  variables {
    access = "iap"
  }
}

run "a_load_balancer_without_a_domain" {
  command         = plan
  expect_failures = [var.load_balancer]
  variables {
    access = "load_balancer"
  }
}

run "a_token_in_the_address_of_the_repository" {
  command         = plan
  expect_failures = [var.git]
  variables {
    git = { url = "https://me:a-token@github.com/me/my-trips.git" }
  }
}

run "ssh_without_the_hosts_key" {
  command         = plan
  expect_failures = [var.git]
  variables {
    git = { url = "git@github.com:me/my-trips.git", ssh_key_secret = "git-key" }
  }
}

run "a_key_for_https" {
  command         = plan
  expect_failures = [var.git]
  variables {
    git = { url = "https://github.com/me/my-trips.git", ssh_key_secret = "git-key" }
  }
}

run "a_secret_among_the_plain_variables" {
  command         = plan
  expect_failures = [var.env]
  variables {
    env = { SLACK_WEBHOOK_URL = "https://hooks.slack.com/services/x" }
  }
}

run "a_variable_that_turns_sign_in_off" {
  command         = plan
  expect_failures = [google_cloud_run_v2_service.mage]
  variables {
    env = { REQUIRE_USER_AUTHENTICATION = "0" }
  }
}

run "a_variable_that_is_plain_and_secret" {
  command         = plan
  expect_failures = [google_cloud_run_v2_service.mage]
  variables {
    env        = { SMTP_USER = "me" }
    secret_env = { SMTP_USER = "smtp-user" }
  }
}

run "another_secret_for_the_owner" {
  command         = plan
  expect_failures = [var.secret_env]
  variables {
    secret_env = { DEFAULT_OWNER_PASSWORD = "my-password" }
  }
}

run "staged_files_that_leave_mage_no_memory" {
  command         = plan
  expect_failures = [var.staging]
  variables {
    staging = { gib = 3 }
  }
}

run "a_disk_that_is_too_small" {
  command         = plan
  expect_failures = [var.staging]
  variables {
    staging = { gib = 4, disk = true }
  }
}

run "more_connections_than_a_small_database_holds" {
  command         = plan
  expect_failures = [var.months_at_once]
  variables {
    cloud_run_executor = true
    months_at_once     = 16
  }
}

run "a_zone_for_a_region" {
  command         = plan
  expect_failures = [var.region]
  variables {
    region = "us-central1-a"
  }
}

run "a_place_for_data_that_bigquery_has_not" {
  command         = plan
  expect_failures = [var.data_location]
  variables {
    data_location = "Europe"
  }
}

run "a_name_that_google_does_not_take" {
  command         = plan
  expect_failures = [var.name]
  variables {
    name = "a-name-of-21-letters-x"
  }
}

run "a_projects_title_for_its_id" {
  command         = plan
  expect_failures = [var.project_id]
  variables {
    project_id = "My first project"
  }
}

run "a_label_that_google_does_not_take" {
  command         = plan
  expect_failures = [var.labels]
  variables {
    labels = { Team = "Data" }
  }
}

run "more_memory_than_the_processors_get" {
  command         = plan
  expect_failures = [var.memory_gib]
  variables {
    memory_gib = 8
  }
}

run "more_months_at_once_than_the_memory_holds" {
  command         = plan
  expect_failures = [var.months_at_once]
  variables {
    months_at_once = 3
  }
}
