"""Postgres and the trip-file server on this machine, from pip packages alone: no Docker, no cloud."""
