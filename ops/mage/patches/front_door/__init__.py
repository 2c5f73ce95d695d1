"""Patches that keep out who was not invited, and what is nobody's business."""
