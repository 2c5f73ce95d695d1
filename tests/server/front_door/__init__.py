"""Who was not invited does not get in, and who was does what the role says: on a running server."""
