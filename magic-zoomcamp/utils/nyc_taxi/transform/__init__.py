"""Named rules: rows accepted and rejected."""
