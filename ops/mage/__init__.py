"""Mage itself: its program, its server, its API."""
