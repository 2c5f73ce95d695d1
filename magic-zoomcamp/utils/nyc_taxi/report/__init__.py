"""A month as a page, as charts, and as previews in Mage's editor."""
