"""The errors that Mage expects of it."""
