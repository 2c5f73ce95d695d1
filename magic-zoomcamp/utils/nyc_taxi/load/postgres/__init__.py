"""A month into Postgres."""
