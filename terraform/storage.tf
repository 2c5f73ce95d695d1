# The lake, and what Mage keeps of its runs: docs/lake.md says which object is what.
resource "google_storage_bucket" "lake" {
  name     = "${var.project_id}-${var.name}-lake-${random_id.suffix.hex}"
  location = local.data_location

  #checkov:skip=CKV_GCP_62:one service account writes and reads here; Cloud Audit Logs say what people do

  force_destroy               = !var.deletion_protection
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  # An overwritten month can be brought back for 30 days.
  versioning {
    enabled = true
  }

  # Not twice: Google's soft delete would keep the same bytes again, and go on charging a week after a destroy.
  soft_delete_policy {
    retention_duration_seconds = 0
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      days_since_noncurrent_time = 30
      with_state                 = "ARCHIVED"
    }
  }

  # Uploads on their way: the run that was killed did not clean up, and no later run of its month did.
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age            = 2
      matches_prefix = ["_incoming/"]
    }
  }

  # Block outputs and logs of runs: the same 30 days as Mage's variables_retention_period. Reports, beside them, stay.
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age            = 30
      matches_prefix = ["${local.runs_prefix}/logs/", "${local.runs_prefix}/variables/"]
    }
  }

  # What is not worth a second version.
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      days_since_noncurrent_time = 1
      with_state                 = "ARCHIVED"
      matches_prefix             = ["_incoming/", "${local.runs_prefix}/"]
    }
  }

  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }
    condition {
      age = 1
    }
  }

  depends_on = [data.google_cloud_run_locations.this]
}

locals {
  # Bucket and data set in one place, or BigQuery cannot read the bucket.
  data_location = coalesce(var.data_location, var.region)
  runs_prefix   = "mage"
}

# The images of this project.
resource "google_artifact_registry_repository" "images" {
  repository_id = var.name
  location      = var.region
  format        = "DOCKER"

  #checkov:skip=CKV_GCP_84:Google's own key encrypts it; a key of one's own costs, and lost, loses everything

  # An image may be three versions: an index, its manifest, and where it was built.
  cleanup_policies {
    id     = "keep-the-last-five"
    action = "KEEP"
    most_recent_versions {
      keep_count = 15
    }
  }

  cleanup_policies {
    id     = "delete-after-7-days"
    action = "DELETE"
    condition {
      tag_state  = "ANY"
      older_than = "604800s"
    }
  }

  depends_on = [data.google_cloud_run_locations.this]
}
