"""Mage's pages in a real browser."""
