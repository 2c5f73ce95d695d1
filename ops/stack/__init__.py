"""Services of this machine: Postgres, emulators of Google's services, trip files."""
