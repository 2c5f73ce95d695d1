"""`taxi live`."""
