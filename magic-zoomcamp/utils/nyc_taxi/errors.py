"""What can go wrong, each with a message that names the thing, the cause and the next step."""

from collections.abc import Iterable

LONGEST_LINE = 300
"""Characters of a message: a terminal and Mage's log show a line of it."""
LONGEST_MESSAGE = 900
"""Characters of one that quotes what Google or Postgres said."""
LONGEST_NAME = 30
"""Characters of a name in it, which may be anything where it comes from a file; the longest of TLC's has 24."""


def not_one_of(what: str, name: str, known: Iterable[str], more: str = "") -> str:
    """The message about a name that does not exist: which there are, and the nearest of them if one is near."""
    from difflib import get_close_matches

    names = {other.casefold(): other for other in known}
    near = get_close_matches(name.casefold(), names, n=1)
    hint = f"; did you mean {names[near[0]]}?" if near else ""
    return f"{what} {name!r} is not one of {', '.join(names.values())}{more}{hint}"


def few(names: Iterable[str], most: int = 5) -> str:
    """The first of the names, each cut to what a line can bear, and how many more there are."""
    cut = [name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}..." for name in names]
    more = f" and {len(cut) - most:,} more" if len(cut) > most else ""
    return ", ".join(cut[:most]) + more


def shortened(text: str, most: int = LONGEST_LINE) -> str:
    """The text in one line of at most so many characters: the beginning names the thing, the end what to do."""
    words = " ".join(text.split())
    line = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in words)
    if len(line) <= most:
        return line
    end = (most - 3) * 2 // 5
    return f"{line[: most - 3 - end]}...{line[-end:]}"


class TaxiError(Exception):
    """Base of every error that this library raises on purpose; its message, one line, is meant for a person."""

    def __init__(self, message: str) -> None:
        """Cut a message that would be longer than any reader has patience for: a file or a server may say anything."""
        super().__init__(shortened(message, LONGEST_MESSAGE))

    def _render_traceback_(self) -> list[str]:
        """What a notebook, and with it Mage's editor, shows: the message; a run's log has the whole traceback."""
        return [f"{type(self).__name__}: {self}"]


class UnknownName(TaxiError):
    """A service, month, origin, rule or setting that does not exist; raised before anything is fetched."""


class NotPublished(TaxiError):
    """The origin has no such trip file."""


class DownloadFailed(TaxiError):
    """The origin could not be reached, or stopped sending, after every retry."""


class NotATripFile(TaxiError):
    """What came back is no readable trip file of this service and month: HTML, XML, truncated, foreign, empty."""


class UnknownColumn(NotATripFile):
    """A column that no era of the service has: TLC changed the file, or it belongs to another service."""


class TooManyMalformed(NotATripFile):
    """More than the tolerated share of the rows cannot be parsed."""


class TooManyRows(TaxiError):
    """More rows than were allowed into memory; none was read."""


class StorageFull(TaxiError):
    """A disk, here or under the database, has no room left."""


class TargetUnavailable(TaxiError):
    """The database, bucket or data set cannot be reached or refuses us."""


class BrokerUnavailable(TaxiError):
    """The broker of the stream cannot be reached, has no JetStream, or refuses us."""


class StreamRefused(TaxiError):
    """The stream, or what was stored of it, is not what it was: nothing is stored until a person has looked."""


class CountsDisagree(TaxiError):
    """Rows were about to be lost or doubled; nothing was changed."""
