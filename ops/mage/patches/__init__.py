"""Patches of Mage, a module each, named after what it fixes."""
