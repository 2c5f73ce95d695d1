"""A real Mage server; a package, so that the server ends with the last of these tests."""
