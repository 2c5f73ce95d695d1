"""Emulators of Google's services: programs for the Python of .venv-emulators, apart from the rest of `ops`."""
