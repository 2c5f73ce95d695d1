# Mage: one instance, always there.
#
# Memory. Cloud Run keeps files in memory, and what they take is missing for Mage. Three kinds of files grow:
#   - block outputs and logs of runs go to the bucket (REMOTE_VARIABLES_DIR, REMOTE_LOGS_PREFIX);
#   - staged trip files are in a volume with a limit of its own, so that a full one is an error that names STAGING_DIR,
#     never an instance killed for memory. Not in the bucket: staging renames files and locks them, which a mounted
#     bucket cannot do as a file system does;
#   - the rest of the file system holds some MB.
# A row takes some 35 bytes staged, 75 of fhvhv; while it is fetched, the trip file is there as well:
#   yellow  2021-01   1.4 M rows    0.05 GB staged + 0.02 GB fetched
#   yellow  2019-03   7.8 M rows    0.27 GB + 0.14 GB
#   fhvhv   2025-01    20 M rows    1.5 GB  + 0.5 GB      the largest there is
# Mage with two months at once stays within 2 GiB: 0.4 idle, some 0.5 a month. So 4 GiB are 2 for Mage and 2 for one
# month of anything, or some fifteen of yellow. What was staged goes when another month needs the room (STAGING_MAX_GB),
# by the pipeline clean_up, or with the instance.
# More at once: staging = { gib = 6 }, memory_gib = 8, cpu = 2; or a job per month (cloud_run_executor); or a disk.
locals {
  # Not on Filestore: staging locks files, and Cloud Run mounts a share without locks.
  staging_dir = "/mnt/staging"
  staging_gib = coalesce(var.staging.gib, var.staging.disk ? 10 : 2)

  # dev.env says what each is for.
  own_env = merge(
    {
      ENV = "production"

      DEFAULT_OWNER_EMAIL          = var.owner_email
      DEFAULT_OWNER_USERNAME       = split("@", var.owner_email)[0]
      DISABLE_AUTO_BROWSER_OPEN    = "1"
      DISABLE_NOTEBOOK_EDIT_ACCESS = "1"
      DISABLE_TERMINAL             = "1"
      HIDE_API_TRIGGER_TOKEN       = "1"
      MAGE_PUBLIC_HOST             = local.public_url
      REQUIRE_USER_AUTHENTICATION  = "1"

      POSTGRES_HOST   = local.database_socket
      POSTGRES_PORT   = "5432"
      POSTGRES_DBNAME = google_sql_database.this["trips"].name
      POSTGRES_SCHEMA = "ny_taxi"
      POSTGRES_USER   = google_sql_user.mage.name

      GCS_BUCKET           = google_storage_bucket.lake.name
      GOOGLE_CLOUD_PROJECT = var.project_id
      GOOGLE_LOCATION      = local.data_location
      BIGQUERY_DATASET     = google_bigquery_dataset.trips.dataset_id

      CONCURRENCY_CONFIG_BLOCK_RUN_LIMIT = tostring(var.months_at_once)

      REMOTE_LOGS_PREFIX   = "${local.runs_prefix}/logs"
      REMOTE_VARIABLES_DIR = "gs://${google_storage_bucket.lake.name}/${local.runs_prefix}/variables"
      REPORTS_DIR          = "${local.staging_dir}/reports"
      REPORTS_PREFIX       = "${local.runs_prefix}/reports"
      STAGING_DIR          = local.staging_dir
      # The rest of the volume: the reports' pages, and what a file system needs itself.
      STAGING_MAX_GB = format("%.2f", 0.9 * local.staging_gib * pow(1024, 3) / pow(1000, 3))
    },
    var.git == null ? {} : {
      GIT_REPO_LINK = var.git.url
      GIT_BRANCH    = var.git.branch
      GIT_AUTH_TYPE = startswith(var.git.url, "https://") ? "https" : "ssh"
      GIT_USERNAME  = var.git.username
      GIT_EMAIL     = var.git.email
    },
    try(var.git.known_hosts, null) == null ? {} : { GIT_KNOWN_HOSTS = var.git.known_hosts },
    local.filestore == 0 ? {} : { MAGE_DATA_DIR = "/mnt/mage/data" },
    local.executor == 0 ? {} : {
      GCP_REGION          = var.region
      GCP_SERVICE_NAME    = var.name
      LOAD_MONTH_EXECUTOR = "gcp_cloud_run"
    },
  )

  # A secret is pinned to its version, so that a new version is a new revision. Those made by hand are read at each start.
  secret_env = merge(
    { for name, secret in google_secret_manager_secret.own : name => {
      secret  = secret.secret_id
      version = google_secret_manager_secret_version.own[name].version
    } },
    { for name, secret in local.given_secrets : name => { secret = secret, version = "latest" } },
  )

  said_twice = setunion(
    setintersection(keys(var.env), keys(local.own_env)),
    setintersection(keys(local.secret_env), keys(merge(local.own_env, var.env))),
  )

  # Nobody but Mage itself asks who comes.
  open = contains(["public", "load_balancer"], var.access)
  # No login is asked for here. Where everybody reaches the server, a path is asked for that only an image with this
  # project's patches has: of bare Mage, anybody would be the owner.
  probed = local.open ? "/front-door" : "/api/status"

  public_url = local.load_balancer == 1 ? "https://${var.load_balancer.domain}" : (
    # With `iam`, people come by the proxy of gcloud, on their own machine.
    var.access == "iam" ? "http://localhost:6789" : "https://${var.name}-${data.google_project.this.number}.${var.region}.run.app"
  )

  registry = "${var.region}-docker.pkg.dev/${var.project_id}/${var.name}"
}

resource "google_cloud_run_v2_service" "mage" {
  name                = var.name
  location            = var.region
  deletion_protection = false # it holds nothing, and a first start that failed must be replaced by the next apply
  launch_stage        = var.staging.disk ? "BETA" : null

  # Reachable from everywhere, and IAM asks who comes. Behind a load balancer only that one gets through.
  ingress              = local.load_balancer == 1 ? "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER" : "INGRESS_TRAFFIC_ALL"
  default_uri_disabled = local.load_balancer == 1
  iap_enabled          = var.access == "iap"
  invoker_iam_disabled = local.open

  # Mage's scheduler lives in the server, and without Redis its locks are no locks: exactly one. A most and a least of
  # one would be exceeded now and then, and those of a revision would outlive it.
  scaling {
    scaling_mode          = "MANUAL"
    manual_instance_count = 1
  }

  template {
    service_account       = google_service_account.mage.email
    execution_environment = "EXECUTION_ENVIRONMENT_GEN2"
    timeout               = "3600s" # the UI's websockets; the browser opens them again
    session_affinity      = true
    # A browser tab holds two, and a full instance would turn the next person away.
    max_instance_request_concurrency = 250

    volumes {
      name = "staging"
      empty_dir {
        medium     = var.staging.disk ? "DISK" : "MEMORY"
        size_limit = "${local.staging_gib}Gi"
      }
    }

    dynamic "volumes" {
      for_each = google_filestore_instance.this
      content {
        name = "filestore"
        nfs {
          server = volumes.value.networks[0].ip_addresses[0]
          path   = "/${volumes.value.file_shares[0].name}"
        }
      }
    }

    # The last, here and among the mounts: so Google lists them, and any other order is a change in every plan.
    volumes {
      name = "cloudsql"
      cloud_sql_instance {
        instances = [google_sql_database_instance.postgres.connection_name]
      }
    }

    dynamic "vpc_access" {
      for_each = var.filestore == null ? [] : [var.filestore]
      content {
        egress = "PRIVATE_RANGES_ONLY"
        network_interfaces {
          network    = vpc_access.value.network
          subnetwork = vpc_access.value.subnetwork
        }
      }
    }

    containers {
      image = var.image

      ports {
        container_port = 6789
      }

      resources {
        # Runs go on when nobody looks at the UI.
        cpu_idle          = false
        startup_cpu_boost = true
        limits = {
          cpu    = tostring(var.cpu)
          memory = "${var.memory_gib}Gi"
        }
      }

      # The first start makes Mage's tables; a start that is refused never answers, and the deploy fails with its log.
      startup_probe {
        period_seconds    = 10
        timeout_seconds   = 5
        failure_threshold = 24
        http_get {
          path = local.probed
          port = 6789
        }
      }

      # A server that has not answered for five minutes starts anew. No readiness probe: the executor copies this
      # container for its jobs, which may not have one; these two it leaves out.
      liveness_probe {
        period_seconds    = 60
        timeout_seconds   = 30
        failure_threshold = 5
        http_get {
          path = local.probed
          port = 6789
        }
      }

      dynamic "env" {
        for_each = merge(local.own_env, var.env)
        content {
          name  = env.key
          value = env.value
        }
      }

      dynamic "env" {
        for_each = local.secret_env
        content {
          name = env.key
          value_source {
            secret_key_ref {
              secret  = env.value.secret
              version = env.value.version
            }
          }
        }
      }

      volume_mounts {
        name       = "staging"
        mount_path = local.staging_dir
      }

      dynamic "volume_mounts" {
        for_each = google_filestore_instance.this
        content {
          name       = "filestore"
          mount_path = "/mnt/mage"
        }
      }

      volume_mounts {
        name       = "cloudsql"
        mount_path = "/cloudsql"
      }
    }
  }

  lifecycle {
    ignore_changes = [
      client,
      client_version,
      # The first image is Terraform's. The next ones come from deploy.yml, and an apply must not take them back.
      template[0].containers[0].image,
      # What `gcloud run services update` leaves behind; to take it away would be another revision.
      template[0].annotations,
      template[0].labels,
      template[0].revision,
    ]
    # Only a new service is given another launch stage.
    replace_triggered_by = [terraform_data.staging_disk]

    precondition {
      condition     = var.image != null
      error_message = <<-EOT
        image is not given. Make the registry, push this project's image to it, and give its address:
          terraform apply -target=google_project_service.this -target=google_artifact_registry_repository.images
          gcloud auth configure-docker ${var.region}-docker.pkg.dev
          docker build --platform linux/amd64 -t ${local.registry}/nyc-taxi-mage:1 ..
          docker push ${local.registry}/nyc-taxi-mage:1
          terraform apply -var image=${local.registry}/nyc-taxi-mage:1
      EOT
    }

    precondition {
      condition     = !can(regex("(^|/)mageai/mageai($|[:@])", coalesce(var.image, "-")))
      error_message = "image ${coalesce(var.image, "-")} is Mage's own and holds no project: Mage would come up empty. Give the image that this project's Dockerfile makes."
    }

    precondition {
      condition     = length(local.said_twice) == 0
      error_message = "env, secret_env: ${join(", ", local.said_twice)} is set already, by Terraform or in the other of the two."
    }
  }

  # The grants, that every start finds them; the registry, that a refused destroy does not take the images.
  depends_on = [
    google_artifact_registry_repository.images,
    google_project_service.this,
    terraform_data.filestore_opened,
    time_sleep.grants,
  ]
}

resource "terraform_data" "staging_disk" {
  input = var.staging.disk
}

# A right is there a while after it was given, and a revision whose secret may not be read yet fails. While a first apply
# makes the database, this costs nothing.
resource "time_sleep" "grants" {
  create_duration = "60s"
  triggers        = { secrets = join(" ", sort(concat(values(local.own_secrets)[*].id, values(local.given_secrets)))) }

  depends_on = [
    google_bigquery_dataset_iam_member.mage,
    google_bigquery_dataset_iam_member.marts,
    google_project_iam_member.mage,
    google_secret_manager_secret_iam_member.given,
    google_secret_manager_secret_iam_member.own,
    google_storage_bucket_iam_member.mage,
  ]
}

# With access "iam": who may come, beside the project's owners. gcloud's proxy looks the service up before it calls it.
resource "google_cloud_run_v2_service_iam_member" "member" {
  for_each = {
    for grant in setproduct(var.access == "iam" ? var.members : [], ["roles/run.invoker", "roles/run.viewer"]) :
    join(" ", grant) => grant
  }

  name     = google_cloud_run_v2_service.mage.name
  location = google_cloud_run_v2_service.mage.location
  role     = each.value[1]
  member   = each.value[0]

  lifecycle {
    replace_triggered_by = [google_cloud_run_v2_service.mage.uid] # a new service has no grants
  }
}

check "image" {
  assert {
    condition     = var.image == null || var.image == google_cloud_run_v2_service.mage.template[0].containers[0].image
    error_message = "The service runs another image than var.image says. Terraform leaves it alone: deploy with `gcloud run services update ${var.name} --region ${var.region} --image IMAGE`, and put the same into terraform.tfvars."
  }
}
