"""Patches for blocks that run dbt."""
