"""Targets, a month replaced as a whole: a folder each for Postgres, the bucket and BigQuery."""
