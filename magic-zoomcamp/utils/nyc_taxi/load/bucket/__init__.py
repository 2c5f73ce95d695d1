"""A month into the bucket: one object, and one object a day."""
