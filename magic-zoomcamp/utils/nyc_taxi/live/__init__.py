"""Trips as a stream: a broker's messages to Postgres, each stored once, and a month as such messages."""
