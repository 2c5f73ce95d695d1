# An address and a certificate of one's own. Whoever gets this far still signs in to Mage.
locals {
  # The free trial has a quota of 0 for security policies.
  armor = local.load_balancer == 1 && length(try(var.load_balancer.allowed_ranges, [])) > 0 ? 1 : 0
}

resource "google_compute_region_network_endpoint_group" "mage" {
  count = local.load_balancer

  name                  = var.name
  region                = var.region
  network_endpoint_type = "SERVERLESS"

  cloud_run {
    service = google_cloud_run_v2_service.mage.name
  }
}

resource "google_compute_security_policy" "mage" {
  count = local.armor

  name = var.name

  rule {
    description = "The networks that may come"
    action      = "allow"
    priority    = 100
    match {
      versioned_expr = "SRC_IPS_V1"
      config {
        src_ip_ranges = var.load_balancer.allowed_ranges
      }
    }
  }

  rule {
    description = "Everyone else"
    action      = "deny(403)"
    priority    = 2147483647
    match {
      versioned_expr = "SRC_IPS_V1"
      config {
        src_ip_ranges = ["*"]
      }
    }
  }

  lifecycle {
    # It goes after the backend service has let go of it.
    create_before_destroy = true
  }

  depends_on = [google_project_service.this]
}

resource "google_compute_backend_service" "mage" {
  count = local.load_balancer

  name                  = var.name
  load_balancing_scheme = "EXTERNAL_MANAGED"
  protocol              = "HTTPS"
  security_policy       = one(google_compute_security_policy.mage[*].id)

  backend {
    group = google_compute_region_network_endpoint_group.mage[0].id
  }
}

resource "google_compute_url_map" "mage" {
  count = local.load_balancer

  name            = var.name
  default_service = google_compute_backend_service.mage[0].id
}

resource "google_compute_managed_ssl_certificate" "mage" {
  count = local.load_balancer

  # Of another domain it is another one, which must be there before the first may go.
  name = "${var.name}-${substr(sha256(var.load_balancer.domain), 0, 6)}"

  managed {
    domains = [var.load_balancer.domain]
  }

  lifecycle {
    create_before_destroy = true
  }

  depends_on = [google_project_service.this]
}

resource "google_compute_ssl_policy" "mage" {
  count = local.load_balancer

  name            = var.name
  profile         = "MODERN"
  min_tls_version = "TLS_1_2"

  depends_on = [google_project_service.this]
}

resource "google_compute_target_https_proxy" "mage" {
  count = local.load_balancer

  name             = var.name
  url_map          = google_compute_url_map.mage[0].id
  ssl_certificates = [google_compute_managed_ssl_certificate.mage[0].id]
  ssl_policy       = google_compute_ssl_policy.mage[0].id
}

resource "google_compute_global_address" "mage" {
  count = local.load_balancer

  name = var.name

  depends_on = [google_project_service.this]
}

resource "google_compute_global_forwarding_rule" "mage" {
  count = local.load_balancer

  name                  = var.name
  load_balancing_scheme = "EXTERNAL_MANAGED"
  target                = google_compute_target_https_proxy.mage[0].id
  ip_address            = google_compute_global_address.mage[0].id
  port_range            = "443"
}

# Who comes by http is sent to https.
resource "google_compute_url_map" "redirect" {
  count = local.load_balancer

  name = "${var.name}-redirect"

  default_url_redirect {
    https_redirect         = true
    redirect_response_code = "MOVED_PERMANENTLY_DEFAULT"
    strip_query            = false
  }

  depends_on = [google_project_service.this]
}

resource "google_compute_target_http_proxy" "redirect" {
  count = local.load_balancer

  name    = "${var.name}-redirect"
  url_map = google_compute_url_map.redirect[0].id
}

resource "google_compute_global_forwarding_rule" "redirect" {
  count = local.load_balancer

  name                  = "${var.name}-redirect"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  target                = google_compute_target_http_proxy.redirect[0].id
  ip_address            = google_compute_global_address.mage[0].id
  port_range            = "80"
}
