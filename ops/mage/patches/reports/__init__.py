"""Patches by which reports are opened in the web UI."""
