"""Other ways to do the same, each a program of its own."""
