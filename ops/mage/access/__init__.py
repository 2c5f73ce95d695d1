"""Who sends a request to Mage, and what the role allows."""
