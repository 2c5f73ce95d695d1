"""The exercises of the course."""
