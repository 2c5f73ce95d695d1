"""From an origin to a staged file of canonical columns."""
