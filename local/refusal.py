"""Why a container does not start."""


class StartRefused(RuntimeError):
    """Something must be mended first; each line of the message says what is wrong and how to mend it."""
