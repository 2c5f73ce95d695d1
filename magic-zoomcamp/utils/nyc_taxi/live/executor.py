"""What the blocks of live_trips call: the variables of a run, and the pieces that are not stored yet."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nyc_taxi.catalog.services import Service, service_named
from nyc_taxi.errors import UnknownName
from nyc_taxi.live.judge import Judged, judge, rules_of_a_stream
from nyc_taxi.live.reader import Piece, pieces
from nyc_taxi.live.store import Store, stored_position
from nyc_taxi.run import rules_named, text_of
from nyc_taxi.settings import Settings
from nyc_taxi.streams import prefetch
from nyc_taxi.transform.rule import Rule

MOST_MESSAGES = 100_000


@dataclass(frozen=True)
class LiveRun:
    """One run of live_trips."""

    service: Service
    rules: tuple[Rule, ...]
    messages: int
    """How many are stored at once, at most."""
    until_idle: float
    """Seconds without a message after which it ends; 0: never."""
    settings: Settings

    def unread(self) -> Iterator[Piece]:
        """What is not stored yet, for ever; who stores a piece moves the position, by which the next start goes."""
        position = stored_position(self.settings.postgres, self.service)
        print(f"{self.service.name}: the stream is stored up to message {position.last:,}", flush=True)
        heard = time.monotonic()
        idle = min(self.until_idle or 1, 1)
        # Read ahead while the last piece is stored: the database and Arrow leave a core to the broker's client.
        for piece in prefetch(pieces(self.settings.broker, self.service, position, self.messages, idle)):
            if piece is not None:
                yield piece
                heard = time.monotonic()
            elif self.until_idle and time.monotonic() - heard > self.until_idle:
                return

    def judged(self, piece: Piece) -> Judged:
        """A piece, divided by the run's rules."""
        return judge(piece, self.service, self.rules)

    def store(self) -> Store:
        """Where judged pieces go."""
        return Store(self.settings.postgres, self.service)


def live_run(variables: Mapping[str, object], settings: Settings | None = None) -> LiveRun:
    """
    Make a run from a block's keyword arguments: service, rules, messages_at_once, until_idle.

    UnknownName for what does not exist, and for rules that need a whole month.
    """
    service = service_named(text_of(variables.get("service"), "yellow"))
    rules = rules_named(variables.get("rules"))
    found = rules_of_a_stream(service.rules if rules is None else map(str, rules))
    for rule in found:
        rule.columns_in(service)
    return LiveRun(
        service,
        found,
        int(_number(variables, "messages_at_once", "1000", 1, MOST_MESSAGES)),
        _number(variables, "until_idle", "0", 0, float("inf")),
        settings or Settings.from_environment(),
    )


def _number(variables: Mapping[str, object], name: str, default: str, least: float, most: float) -> float:
    text = text_of(variables.get(name), default)
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not least <= number <= most:
        raise UnknownName(f"{name} {text!r} is not a number from {least:,} to {most:,}")
    return number
