"""What concerns runs: sensors, freshness, many months, failures, retention."""
