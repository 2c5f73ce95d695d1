"""What TLC publishes: services with their columns, and the origins of the files."""
