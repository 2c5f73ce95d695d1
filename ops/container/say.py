"""The log of a container."""


def say(line: str) -> None:
    """One line of the container's log."""
    print(line, flush=True)
