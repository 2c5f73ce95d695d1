"""What stops a command or a start: each message says what is wrong and what to do."""


class StartRefused(RuntimeError):
    """Something must be fixed first; each line of the message says what is wrong and what to do."""


class CommandFailed(RuntimeError):
    """What a command ends with, exit code 1 and the message after FAILED; the message says what to do."""


class LocalStackError(CommandFailed):
    """A local service could not be started or stopped; the message says why and what to do."""
