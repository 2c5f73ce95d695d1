"""Kills, races and lies: after each of them, every target is one whole version of the month."""
