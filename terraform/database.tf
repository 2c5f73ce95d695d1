# Postgres for Mage's users, triggers and runs, and for the trips.
resource "google_sql_database_instance" "postgres" {
  name                = "${var.name}-${random_id.suffix.hex}"
  region              = var.region
  database_version    = "POSTGRES_16"
  deletion_protection = var.deletion_protection

  #checkov:skip=CKV_GCP_6:Google's connector brings its own certificate, and connector_enforcement lets nobody else in
  #checkov:skip=CKV_GCP_60:a public address without a network that may use it; a private one needs a VPC
  #checkov:skip=CKV_GCP_79:16, as in docker-compose.yml
  #checkov:skip=CKV_GCP_108:all come from the connector, whose name says nothing
  #checkov:skip=CKV_GCP_110:pgAudit takes memory that db-f1-micro does not have; log_statement is on
  #checkov:skip=CKV2_GCP_13:the time of every statement would be most of the log

  settings {
    # Postgres 16 comes as ENTERPRISE_PLUS unless told, which has no small machines.
    edition           = "ENTERPRISE"
    tier              = var.database.tier
    availability_type = "ZONAL"
    user_labels       = local.labels

    disk_type             = "PD_SSD"
    disk_size             = 10
    disk_autoresize       = true
    disk_autoresize_limit = var.database.disk_limit_gb

    deletion_protection_enabled = var.deletion_protection
    # A destroy leaves nothing behind.
    retain_backups_on_delete = false

    # A public address that nobody can use: no network is let in, and Google's connector asks IAM. A private one would
    # need a VPC and a connector, 14 USD a month.
    connector_enforcement = "REQUIRED"
    ip_configuration {
      ipv4_enabled = true
      ssl_mode     = "ENCRYPTED_ONLY"
    }

    backup_configuration {
      enabled    = true
      start_time = "03:00"
      backup_retention_settings {
        retained_backups = 7
      }
    }

    # db-f1-micro has 25.
    database_flags {
      name  = "max_connections"
      value = tostring(max(50, local.connections))
    }

    # What one wants to know afterwards: who came and went, what waited, what failed, what changed a table.
    database_flags {
      name  = "log_checkpoints"
      value = "on"
    }
    database_flags {
      name  = "log_connections"
      value = "on"
    }
    database_flags {
      name  = "log_disconnections"
      value = "on"
    }
    database_flags {
      name  = "log_lock_waits"
      value = "on"
    }
    database_flags {
      name  = "log_min_error_statement"
      value = "error"
    }
    database_flags {
      name  = "log_statement"
      value = "ddl"
    }
  }

  depends_on = [data.google_cloud_run_locations.this]
}

# ABANDON, here and for the user: both go with the instance. To drop them one by one fails, for Mage is connected to
# the one, and its tables belong to the other.
resource "google_sql_database" "this" {
  for_each = local.databases

  name            = each.value
  instance        = google_sql_database_instance.postgres.name
  deletion_policy = "ABANDON"
}

resource "google_sql_user" "mage" {
  name                = "mage"
  instance            = google_sql_database_instance.postgres.name
  password_wo         = ephemeral.random_password.this["database"].result
  password_wo_version = var.password_version
  deletion_policy     = "ABANDON"
}

locals {
  databases = {
    trips = "mage"
    # Of its own, so that Mage's tables and the trips never meet.
    metadata = "mage_metadata"
  }
  # Mage some ten, a month two, three reserved by Postgres, and a person or two.
  connections = 20 + 2 * var.months_at_once
  # Cloud Run puts the instance's socket here; libpq takes a host with a slash for the socket's folder.
  database_socket = "/cloudsql/${google_sql_database_instance.postgres.connection_name}"
}
