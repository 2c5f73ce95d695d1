"""
The stream into Postgres as live_trips stores it, in a process of its own, without Mage: it starts in a second.

    python -m tests.chaos.executor
"""

from nyc_taxi.live.executor import live_run


def main() -> None:
    """Store what comes, for ever."""
    run = live_run({})
    store = run.store()
    for piece in run.unread():
        store.write(run.judged(piece))


if __name__ == "__main__":
    main()
