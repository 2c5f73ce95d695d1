"""Patches of streaming pipelines."""
