"""Locks in Postgres: loads of one month in turn, and changes that let readers pass."""

import random
import time
from collections.abc import Callable

import psycopg2
from psycopg2.extensions import cursor as Cursor

SWAP_LOCK_TIMEOUT = "2s"
SWAP_ATTEMPTS = 60


def advisory_lock(cursor: Cursor, what: str) -> None:
    """Wait until no other transaction loads the same, such as a month of a table; held until ours ends in any way."""
    cursor.execute("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", (what,))
    if cursor.fetchone() == (False,):
        print(f"{what} is being loaded by another run: waiting for it", flush=True)
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (what,))


def with_lock_timeout(cursor: Cursor, what: str, change: Callable[[], None]) -> None:
    """
    Make a change that shuts readers of a table out for a moment.

    A reader in a long transaction would block the change, and the change every reader behind it: so it gives up after
    SWAP_LOCK_TIMEOUT, or when the two block each other, lets the others pass and tries again.
    """
    for attempt in range(1, SWAP_ATTEMPTS + 1):
        cursor.execute("SAVEPOINT change")
        try:
            cursor.execute(f"SET LOCAL lock_timeout = '{SWAP_LOCK_TIMEOUT}'")
            change()
        except (psycopg2.errors.LockNotAvailable, psycopg2.errors.DeadlockDetected):
            if attempt == SWAP_ATTEMPTS:
                raise
            cursor.execute("ROLLBACK TO SAVEPOINT change")
            print(f"{what} is being read; the swap waits ({attempt} of {SWAP_ATTEMPTS})", flush=True)
            time.sleep(random.uniform(0.2, 1.0))
        else:
            cursor.execute("SET LOCAL lock_timeout = 0")
            return
