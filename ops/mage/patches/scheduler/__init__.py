"""Patches of Mage's scheduler: triggers, runs and what executes them."""
