"""Generated trip files."""
