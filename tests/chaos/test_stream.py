"""A month as a stream while executor, broker and Postgres die at any moment: each trip is stored once."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from nyc_taxi.errors import TaxiError
from nyc_taxi.extract.staging import stage_trip_file
from nyc_taxi.live.compare import compare_month
from nyc_taxi.live.replay import replay
from nyc_taxi.live.store import stored_position
from nyc_taxi.load.postgres.month import replace_month
from nyc_taxi.months import Month
from nyc_taxi.settings import PostgresSettings
from nyc_taxi.transform.rules import apply_rules

from ops.paths import MAGE, PROJECT, ROOT
from ops.stack import postgres
from ops.stack.trip_server import TripServer
from ops.synthetic.generate import generate
from tests.conftest import environment_of, process_environment, run_of, settings_for, sql
from tests.nyc_taxi.live.streaming import YELLOW, OwnBroker, settings_of

SEED, MONTH = 20261130, Month(2021, 1)
BY_LIBRARY = [sys.executable, "-m", "tests.chaos.executor"]
BY_MAGE = [*MAGE, "run", PROJECT.name, "live_trips"]
LONGEST_SECONDS = 120
"""Between two deaths: a start of Mage, and the trips that come meanwhile."""


@dataclass
class Executor:
    """A process that stores the stream, and is followed by another one whenever it ends, as by an always-on trigger."""

    command: list[str]
    env: dict[str, str]
    log: Path
    starts: int = 0
    _end: threading.Event = field(default_factory=threading.Event)
    _process: "subprocess.Popen[bytes] | None" = None

    def kill(self) -> None:
        """End it at this moment; another one follows."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    @contextmanager
    def always_on(self) -> Iterator[None]:
        """Run it, one process after the other."""
        thread = threading.Thread(target=self._supervise)
        thread.start()
        try:
            yield
        finally:
            self._end.set()
            while thread.is_alive():
                self.kill()
                thread.join(0.1)

    def _supervise(self) -> None:
        with self.log.open("ab") as out:
            while not self._end.is_set():
                self._process = subprocess.Popen(
                    self.command, cwd=ROOT, env=self.env, stdout=out, stderr=out, start_new_session=True
                )
                self.starts += 1
                self._process.wait()
                time.sleep(0.2)


@pytest.mark.parametrize(
    ("rows", "deaths", "command"),
    [
        pytest.param(12_000, {"executor": 2, "broker": 1, "Postgres": 1}, BY_LIBRARY, id="short"),
        pytest.param(
            *(200_000, {"executor": 20, "broker": 5, "Postgres": 5}, BY_MAGE), id="long", marks=pytest.mark.chaos
        ),
    ],
)
@pytest.mark.timeout(2_400)
def test_each_trip_is_stored_once_whatever_dies(
    rows: int, deaths: dict[str, int], command: list[str], trips: TripServer, tmp_path: Path
) -> None:
    chance = random.Random(SEED)
    happening = [what for what, times in deaths.items() for _ in range(times)]
    chance.shuffle(happening)
    began = postgres.start(tmp_path / "pg" / "data")
    database = PostgresSettings(began.host, began.port, began.dbname, "ny_taxi", began.user, began.password)
    try:
        with OwnBroker(tmp_path / "broker") as broker:
            settings = replace(settings_for(database, trips, tmp_path), broker=settings_of(broker).broker)
            generate("yellow", "2021-01", "dtc", rows, trips.folder, malformed=10)
            run = run_of(settings, "yellow", "2021-01", "dtc")
            [file] = apply_rules(stage_trip_file(run), run.rules).files
            replace_month(file, database)
            env = {
                **process_environment(),
                **environment_of(database),
                "NATS_URL": broker.url,
                "MAGE_DATA_DIR": str(tmp_path / "mage"),
            }
            executor = Executor(command, env, tmp_path / "executor.log")
            happened = 0

            def as_things_happen(done: int) -> None:
                """Wait with the next thousand trips until more has died: so there are some at every death."""
                while done > (happened + 1) * rows / (len(happening) + 1):
                    time.sleep(0.01)

            producer = threading.Thread(target=replay, args=(settings.broker, file, 1e9, as_things_happen), daemon=True)
            with executor.always_on():
                producer.start()
                stored = 0
                for what in happening:
                    stored = more_than(stored, database)
                    time.sleep(chance.uniform(0, 0.4))
                    if what == "executor":
                        executor.kill()
                    elif what == "broker":
                        broker.kill()
                        time.sleep(chance.uniform(0, 2))
                        broker.start()
                    else:
                        postgres.stop(tmp_path / "pg" / "data")
                        time.sleep(chance.uniform(0, 1))
                        postgres.start(tmp_path / "pg" / "data")
                    stored = max(stored, position(database))
                    happened += 1
                producer.join(LONGEST_SECONDS)
                assert not producer.is_alive()
                more_than(rows - 10 - 1, database)
            there = "SELECT count(*), count(DISTINCT message), max(message) FROM (SELECT message FROM ny_taxi.{0}_live "
            there += "UNION ALL SELECT message FROM ny_taxi.{0}_live_rejected) AS stored"
            assert sql(database, there.format(YELLOW.table)) == [(rows - 10,) * 3]
            compared = compare_month(database, YELLOW, MONTH)
            assert [one.what for one in compared if not one.agrees] == []
            print(f"{len(happening)} deaths, {executor.starts} executors: {[(c.what, c.stream) for c in compared]}")
    finally:
        postgres.stop(tmp_path / "pg" / "data")


def position(database: PostgresSettings) -> int:
    """The last message that is stored; 0 while Postgres is not there."""
    with suppress(TaxiError):
        return stored_position(database, YELLOW).last
    return 0


def more_than(stored: int, database: PostgresSettings) -> int:
    """The position when it has moved on from there."""
    until = time.monotonic() + LONGEST_SECONDS
    while (now := position(database)) <= stored:
        assert time.monotonic() < until, f"nothing is stored after message {stored:,}"
        time.sleep(0.02)
    return now
