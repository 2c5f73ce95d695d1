"""The start of a container, on this machine and on Cloud Run."""
