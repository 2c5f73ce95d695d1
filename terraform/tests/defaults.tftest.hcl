# What a plan makes when only what must be given is given: it fits the free trial, and nobody gets in unasked.
# No cloud is asked: `terraform init -backend=false && terraform test`.

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

run "the_free_trial_is_enough" {
  command = plan

  assert {
    condition     = length(google_compute_security_policy.mage) == 0 && length(google_compute_global_forwarding_rule.mage) == 0
    error_message = "Neither a load balancer nor a security policy, of which the free trial has none."
  }
  assert {
    condition     = length(google_filestore_instance.this) == 0
    error_message = "No disk of 1 TB."
  }
  assert {
    condition     = length(google_billing_budget.this) + length(google_iam_workload_identity_pool.github) == 0
    error_message = "Nothing that was not asked for."
  }
  assert {
    condition     = google_sql_database_instance.postgres.settings[0].edition == "ENTERPRISE" && google_sql_database_instance.postgres.settings[0].tier == "db-f1-micro"
    error_message = "The smallest database; the edition that Postgres 16 has by default refuses it."
  }
  assert {
    condition     = !contains(keys(google_project_service.this), "compute.googleapis.com")
    error_message = "No API that nothing uses."
  }
}

run "the_service_is_reachable_and_asks_who_comes" {
  command = plan

  assert {
    condition     = google_cloud_run_v2_service.mage.ingress == "INGRESS_TRAFFIC_ALL" && !google_cloud_run_v2_service.mage.invoker_iam_disabled
    error_message = "Ingress from everywhere, with IAM in front."
  }
  assert {
    condition     = length(google_cloud_run_v2_service_iam_member.member) == 0
    error_message = "Nobody but the project's owners."
  }
}

run "exactly_one_instance_is_always_there" {
  command = plan

  assert {
    condition     = google_cloud_run_v2_service.mage.scaling[0].scaling_mode == "MANUAL" && google_cloud_run_v2_service.mage.scaling[0].manual_instance_count == 1
    error_message = "The scheduler lives in the server, and its locks are none."
  }
  assert {
    condition     = !google_cloud_run_v2_service.mage.template[0].containers[0].resources[0].cpu_idle
    error_message = "A run goes on when nobody looks at the UI."
  }
}

run "mage_has_2_gib_beside_the_staged_files" {
  command = plan

  assert {
    condition     = google_cloud_run_v2_service.mage.template[0].containers[0].resources[0].limits.memory == "4Gi"
    error_message = "4 GiB in all."
  }
  assert {
    condition     = one([for volume in google_cloud_run_v2_service.mage.template[0].volumes : volume.empty_dir[0].size_limit if volume.name == "staging"]) == "2Gi"
    error_message = "2 GiB for staged files."
  }
}

run "no_secret_is_in_the_plain_environment" {
  command = plan

  assert {
    condition = toset([for env in google_cloud_run_v2_service.mage.template[0].containers[0].env : env.name if length(env.value_source) == 1]) == toset([
      "DEFAULT_OWNER_PASSWORD", "JWT_SECRET", "MAGE_DATABASE_CONNECTION_URL", "POSTGRES_PASSWORD",
    ])
    error_message = "All four come from Secret Manager."
  }
}

run "mage_may_do_no_more_than_it_must" {
  command = plan

  assert {
    condition     = toset([for grant in google_project_iam_member.mage : grant.role]) == toset(["roles/bigquery.jobUser", "roles/cloudsql.client"])
    error_message = "Two roles in the project."
  }
  assert {
    condition     = toset([for grant in google_storage_bucket_iam_member.mage : grant.role]) == toset(["roles/storage.legacyBucketReader", "roles/storage.objectUser"])
    error_message = "Objects of one bucket."
  }
  assert {
    condition     = length(google_secret_manager_secret_iam_member.own) == 4 && length(google_secret_manager_secret_iam_member.given) == 0
    error_message = "Each secret by name."
  }
}

run "bucket_and_data_set_are_in_one_place" {
  command = plan

  variables {
    region        = "europe-west1"
    data_location = "EU"
  }
  assert {
    condition     = google_storage_bucket.lake.location == "EU" && google_bigquery_dataset.trips.location == "EU"
    error_message = "BigQuery cannot read a bucket of another place."
  }
  assert {
    condition     = one([for env in google_cloud_run_v2_service.mage.template[0].containers[0].env : env.value if env.name == "GOOGLE_LOCATION"]) == "EU"
    error_message = "And Mage is told so."
  }
}

run "data_are_protected_and_the_service_is_not" {
  command = plan

  assert {
    condition     = google_sql_database_instance.postgres.deletion_protection && google_sql_database_instance.postgres.settings[0].deletion_protection_enabled && !google_storage_bucket.lake.force_destroy && !google_bigquery_dataset.trips.delete_contents_on_destroy
    error_message = "Nothing that holds data can go."
  }
  assert {
    condition     = !google_cloud_run_v2_service.mage.deletion_protection
    error_message = "A first start that failed is replaced by the next apply."
  }
}

run "data_are_protected_until_they_are_not" {
  command = plan

  variables {
    deletion_protection = false
  }
  assert {
    condition     = google_storage_bucket.lake.force_destroy && google_bigquery_dataset.trips.delete_contents_on_destroy
    error_message = "A destroy takes what is in them."
  }
  assert {
    condition     = !google_sql_database_instance.postgres.deletion_protection && !google_sql_database_instance.postgres.settings[0].deletion_protection_enabled
    error_message = "And the database."
  }
}
