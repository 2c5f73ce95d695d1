# --- What must be given ------------------------------------------------------------------------------------------------

variable "project_id" {
  description = "An existing Google Cloud project with billing."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id ${var.project_id}: the project's ID, 6 to 30 lower-case letters, digits and dashes. `gcloud projects list` has it."
  }
}

variable "owner_email" {
  description = "Who signs in to Mage first; the password is in Secret Manager."
  type        = string

  validation {
    condition     = can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", var.owner_email)) && lower(var.owner_email) != "admin@admin.com"
    error_message = "owner_email ${var.owner_email}: give an address of yours; admin@admin.com is Mage's default, which everyone knows."
  }
}

variable "image" {
  description = "This project's image in Artifact Registry, with a tag or a digest. Not given: the plan says how to make it."
  type        = string
  default     = null

  validation {
    condition     = var.image == null || can(regex("^[a-z0-9-]+-docker\\.pkg\\.dev/[^:@]+(:[\\w][\\w.-]*)?(@sha256:[0-9a-f]{64})?$", var.image))
    error_message = "image ${coalesce(var.image, "-")} is not REGION-docker.pkg.dev/PROJECT/REPOSITORY/NAME:TAG; Cloud Run reads its images from Artifact Registry."
  }

  validation {
    condition     = var.image == null || can(regex("(:[^/]+|@sha256:.+)$", var.image)) && !can(regex(":latest$", var.image))
    error_message = "image ${coalesce(var.image, "-")}: give a tag of its own or a digest, not latest, which tomorrow is another image."
  }
}

# --- Where and how large -----------------------------------------------------------------------------------------------

variable "region" {
  description = "Where everything runs."
  type        = string
  default     = "us-central1"

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region ${var.region}: a region such as europe-west1, not a zone and not EU. `gcloud run regions list` has them."
  }
}

variable "data_location" {
  description = "Where bucket and data set are, such as US or EU. Not given: the region."
  type        = string
  default     = null

  validation {
    condition     = var.data_location == null || can(regex("^(US|EU|[a-z]+-[a-z]+[0-9]+)$", var.data_location))
    error_message = "data_location ${coalesce(var.data_location, "-")}: US, EU or a region such as europe-west1. BigQuery and Cloud Storage have these in common."
  }
}

variable "name" {
  description = "The name of the service, and the beginning of every other name."
  type        = string
  default     = "mage"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name ${var.name}: 3 to 20 lower-case letters, digits and dashes, a letter first."
  }
}

variable "labels" {
  description = "Labels of everything, beside app and managed-by."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for key, value in var.labels : can(regex("^[a-z][a-z0-9_-]{0,62}$", key)) && can(regex("^[a-z0-9_-]{0,63}$", value))])
    error_message = "labels: lower-case letters, digits, - and _, 63 at most."
  }
}

variable "dataset" {
  description = "The BigQuery data set of the trip tables."
  type        = string
  default     = "ny_taxi"

  validation {
    condition     = can(regex("^[A-Za-z0-9_]+$", var.dataset))
    error_message = "dataset ${var.dataset}: letters, digits and _ only."
  }
}

variable "cpu" {
  description = "Processors of the instance: 1, 2, 4 or 8."
  type        = number
  default     = 1

  validation {
    condition     = contains([1, 2, 4, 8], var.cpu)
    error_message = "cpu ${var.cpu}: 1, 2, 4 or 8."
  }
}

variable "memory_gib" {
  description = "Memory of the instance, the staged trip files included. cloud_run.tf has the arithmetic."
  type        = number
  default     = 4

  validation {
    condition     = var.memory_gib <= 4 * var.cpu
    error_message = "memory_gib ${var.memory_gib}: Cloud Run gives 4 GiB per processor, and cpu is ${var.cpu}."
  }
}

variable "staging" {
  description = "The volume for trip files on their way: its size, and whether it is a disk (a preview of Google's) in the place of memory. Not given: 2 GiB of memory, 10 of a disk."
  type = object({
    gib  = optional(number)
    disk = optional(bool, false)
  })
  default = {}

  validation {
    condition     = var.staging.disk || coalesce(var.staging.gib, var.staging.disk ? 10 : 2) + 2 <= var.memory_gib
    error_message = "staging.gib ${coalesce(var.staging.gib, var.staging.disk ? 10 : 2)} of memory_gib ${var.memory_gib}: Mage and a run need 2 GiB themselves."
  }

  validation {
    condition     = !var.staging.disk || coalesce(var.staging.gib, var.staging.disk ? 10 : 2) >= 10
    error_message = "staging.gib ${coalesce(var.staging.gib, var.staging.disk ? 10 : 2)}: a disk has at least 10."
  }
}

variable "months_at_once" {
  description = "How many months load_many loads at once: some 500 MB of memory each, or a job each with cloud_run_executor."
  type        = number
  default     = 2

  validation {
    condition     = var.months_at_once >= 1 && var.months_at_once <= 20 && floor(var.months_at_once) == var.months_at_once
    error_message = "months_at_once ${var.months_at_once}: 1 to 20."
  }

  validation {
    condition     = var.cloud_run_executor || var.memory_gib >= 1 + 0.5 * var.months_at_once + (var.staging.disk ? 0 : coalesce(var.staging.gib, var.staging.disk ? 10 : 2))
    error_message = "months_at_once ${var.months_at_once}: 0.5 GiB each, 1 for Mage and the staged files are more than memory_gib ${var.memory_gib}."
  }

  validation {
    condition     = 20 + 2 * var.months_at_once <= 50 || !contains(["db-f1-micro", "db-g1-small"], var.database.tier)
    error_message = "months_at_once ${var.months_at_once}: two connections each are more than ${var.database.tier} holds. At most 15, or a larger database.tier."
  }
}

variable "database" {
  description = "The machine of Cloud SQL, and how far its disk may grow."
  type = object({
    tier          = optional(string, "db-f1-micro")
    disk_limit_gb = optional(number, 50)
  })
  default = {}
}

variable "deletion_protection" {
  description = "While true, the database, Filestore, and a bucket or data set that holds something cannot be destroyed. The service holds nothing."
  type        = bool
  default     = true
}

# --- Who gets in -------------------------------------------------------------------------------------------------------

variable "access" {
  description = "How people reach the UI, before they sign in to it: iam (gcloud's proxy), iap (Google's sign-in page), load_balancer or public. With the last two, Mage's own sign-in is all that stands between the internet and the data, and code that runs as Mage; an image without this project's patches, with which anybody would be the owner, does not come up."
  type        = string
  default     = "iam"

  validation {
    condition     = contains(["iam", "iap", "load_balancer", "public"], var.access)
    error_message = "access ${var.access}: iam, iap, load_balancer or public."
  }
}

variable "members" {
  description = "With access iam or iap, who may come: user:NAME@EXAMPLE.ORG, group:.., domain:.. . The project's owners may with iam anyway."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.members : can(regex("^(user|group|domain|serviceAccount):.+", member))])
    error_message = "members: user:, group:, domain: or serviceAccount:, then the address. For everyone there is access = \"public\"."
  }

  validation {
    condition     = var.access != "iap" || length(var.members) > 0
    error_message = "members: with access iap nobody gets in who is not named."
  }
}

variable "load_balancer" {
  description = "With access load_balancer: its domain, and the networks that Cloud Armor lets in; without networks, Mage's own sign-in is all that stands between the internet and the data. Cloud Armor needs a paid account: the free trial has no security policies."
  type = object({
    domain         = string
    allowed_ranges = optional(list(string), [])
  })
  default = null

  validation {
    condition     = (var.access == "load_balancer") == (var.load_balancer != null)
    error_message = "access = \"load_balancer\" and load_balancer = { domain = .. } go together."
  }
}

# --- What Mage is told -------------------------------------------------------------------------------------------------

variable "git" {
  description = "The repository that the instance follows. token_secret and ssh_key_secret are names in Secret Manager; the key is in base64, as Mage wants it."
  type = object({
    url            = string
    branch         = optional(string, "main")
    username       = optional(string, "git")
    email          = optional(string, "mage@localhost.local")
    token_secret   = optional(string)
    ssh_key_secret = optional(string)
    known_hosts    = optional(string)
  })
  default = null

  validation {
    condition     = var.git == null || can(regex("^(https://[^@/\\s]+/|ssh://|[^@/\\s]+@[^:/\\s]+:)[^\\s]+$", var.git.url))
    error_message = "git.url: https://HOST/PATH without a user or a token in it, or git@HOST:PATH."
  }

  validation {
    condition     = var.git == null || !startswith(try(var.git.url, ""), "https://") || try(var.git.ssh_key_secret, null) == null
    error_message = "git: an https address takes token_secret, or nothing when the repository is public."
  }

  validation {
    condition     = var.git == null || startswith(try(var.git.url, ""), "https://") || (try(var.git.ssh_key_secret, null) != null && try(var.git.known_hosts, null) != null && try(var.git.token_secret, null) == null)
    error_message = "git: an ssh address takes ssh_key_secret, and in known_hosts the host's own key, so that nobody else can answer for it."
  }
}

variable "env" {
  description = "More environment variables: dev.env has them all. Nothing secret."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.env) : !can(regex("PASSWORD|SECRET|TOKEN|WEBHOOK|CONNECTION_URL|API_KEY", name))])
    error_message = "env: a password, token or webhook belongs into Secret Manager and its name into secret_env."
  }
}

variable "secret_env" {
  description = "More secrets: environment variable to the name of a secret that is in Secret Manager, such as SLACK_WEBHOOK_URL or SMTP_PASSWORD."
  type        = map(string)
  default     = {}

  validation {
    condition     = length(setintersection(keys(var.secret_env), ["MAGE_DATABASE_CONNECTION_URL", "POSTGRES_PASSWORD", "JWT_SECRET", "DEFAULT_OWNER_PASSWORD", "GIT_ACCESS_TOKEN", "GIT_SSH_PRIVATE_KEY"])) == 0
    error_message = "secret_env: Terraform makes the database's, Mage's and the owner's secrets itself, and git has its own."
  }
}

variable "password_version" {
  description = "One more gives the database a new password, and Mage with it."
  type        = number
  default     = 1
}

variable "jwt_version" {
  description = "One more signs everyone out."
  type        = number
  default     = 1
}

# --- What is only there when it is asked for ---------------------------------------------------------------------------

variable "filestore" {
  description = "A disk of Google's, 1 TB at least and some 160 to 200 USD a month, for what Mage keeps in its folder."
  type = object({
    zone        = string
    tier        = optional(string, "BASIC_HDD")
    capacity_gb = optional(number, 1024)
    network     = optional(string, "default")
    subnetwork  = optional(string, "default")
  })
  default = null
}

variable "cloud_run_executor" {
  description = "Let load_many load each month in a Cloud Run job of its own: as many machines as months, each of the service's size, or of env LOAD_MONTH_JOB_CPU and LOAD_MONTH_JOB_MEMORY."
  type        = bool
  default     = false
}

variable "github" {
  description = "The repository and branch whose workflow deploy.yml may push images and deploy them, without a key. With repository_id, its number, nobody else who takes the name later may."
  type = object({
    repository    = string
    repository_id = optional(string)
    branch        = optional(string, "main")
  })
  default = null

  validation {
    condition     = var.github == null || can(regex("^[\\w.-]+/[\\w.-]+$", var.github.repository)) && can(regex("^[\\w./-]+$", var.github.branch)) && can(regex("^[0-9]+$", coalesce(var.github.repository_id, "0")))
    error_message = "github: repository is OWNER/NAME, branch is its name, repository_id what `gh api repos/OWNER/NAME --jq .id` prints."
  }
}

variable "budget" {
  description = "A mail at 50, 90 and 100 percent of so much a month, in the currency of the billing account."
  type = object({
    billing_account = string
    amount          = number
  })
  default = null
}

locals {
  executor      = var.cloud_run_executor ? 1 : 0
  filestore     = var.filestore == null ? 0 : 1
  github        = var.github == null ? 0 : 1
  load_balancer = var.access == "load_balancer" && var.load_balancer != null ? 1 : 0
}
