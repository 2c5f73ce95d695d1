# Made anew by every plan and never kept: they go into write-only arguments, which only count when their version changes.
ephemeral "random_password" "this" {
  for_each = toset(["database", "jwt", "owner"])

  length = 32
  # They stand in a URL as they are.
  special = false
}

locals {
  own_secrets = {
    MAGE_DATABASE_CONNECTION_URL = { id = "${var.name}-database-url", version = var.password_version }
    POSTGRES_PASSWORD            = { id = "${var.name}-database-password", version = var.password_version }
    JWT_SECRET                   = { id = "${var.name}-jwt-secret", version = var.jwt_version }
    # Mage reads it once, when it makes the owner. Later it is changed in the UI, and here it would only be a lie.
    DEFAULT_OWNER_PASSWORD = { id = "${var.name}-owner-password", version = 1 }
  }

  own_secret_values = {
    MAGE_DATABASE_CONNECTION_URL = "postgresql+psycopg2://${google_sql_user.mage.name}:${ephemeral.random_password.this["database"].result}@/${google_sql_database.this["metadata"].name}?host=${local.database_socket}"
    POSTGRES_PASSWORD            = ephemeral.random_password.this["database"].result
    JWT_SECRET                   = ephemeral.random_password.this["jwt"].result
    DEFAULT_OWNER_PASSWORD       = ephemeral.random_password.this["owner"].result
  }

  # Made by hand before, so that Terraform never sees them: environment variable -> name in Secret Manager.
  given_secrets = merge(
    var.secret_env,
    try(var.git.token_secret, null) == null ? {} : { GIT_ACCESS_TOKEN = var.git.token_secret },
    try(var.git.ssh_key_secret, null) == null ? {} : { GIT_SSH_PRIVATE_KEY = var.git.ssh_key_secret },
  )
}

resource "google_secret_manager_secret" "own" {
  for_each = local.own_secrets

  secret_id           = each.value.id
  deletion_protection = false

  replication {
    auto {}
  }

  depends_on = [google_project_service.this]
}

# Right after the user whose password they hold: as little as possible can fail between the two.
resource "google_secret_manager_secret_version" "own" {
  for_each = local.own_secrets

  secret                 = google_secret_manager_secret.own[each.key].id
  secret_data_wo         = local.own_secret_values[each.key]
  secret_data_wo_version = each.value.version

  lifecycle {
    # The running instance still needs the old one.
    create_before_destroy = true
  }
}

resource "google_secret_manager_secret_iam_member" "own" {
  for_each = google_secret_manager_secret.own

  secret_id = each.value.secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.mage.member
}

# A secret that nobody made, or without a version, is said by the plan. Its value is not read.
data "google_secret_manager_secret_version" "given" {
  for_each = toset(values(local.given_secrets))

  secret            = each.value
  fetch_secret_data = false

  depends_on = [google_project_service.this]
}

resource "google_secret_manager_secret_iam_member" "given" {
  for_each = toset(values(local.given_secrets))

  secret_id = each.value
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.mage.member

  depends_on = [data.google_secret_manager_secret_version.given]
}
