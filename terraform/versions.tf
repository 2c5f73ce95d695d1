terraform {
  # 1.11 is the first with write-only arguments: no password gets into the state.
  required_version = ">= 1.11"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 7.24, < 9.0" # 7.24 is the first with a disk for staged files
    }
    random = {
      source  = "hashicorp/random"
      version = ">= 3.7, < 4.0" # 3.7 is the first with an ephemeral password
    }
    time = {
      source  = "hashicorp/time"
      version = ">= 0.12, < 1.0"
    }
  }
}

provider "google" {
  project        = var.project_id
  region         = var.region
  default_labels = local.labels

  # Only the API of budgets asks who pays for the request itself.
  billing_project       = var.project_id
  user_project_override = var.budget != null
}

locals {
  # What leftovers.sh looks for after a destroy. default_labels puts them on everything that can have labels, but for
  # Cloud SQL, which has a field of its own.
  labels = merge(var.labels, { app = var.name, managed-by = "terraform" })
}

# In the names of what keeps its name for a while after it is gone: an instance of Cloud SQL for a week, a workload
# identity pool for a month, and a bucket, whose name is the whole world's.
resource "random_id" "suffix" {
  byte_length = 3
}
