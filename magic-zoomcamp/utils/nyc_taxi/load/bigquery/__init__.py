"""A month from the bucket into BigQuery."""
