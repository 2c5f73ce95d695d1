"""A process that is killed at any moment, and two that run at once: what is there is one whole version."""

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from nyc_taxi.google import bigquery_client
from nyc_taxi.load.bucket import days
from nyc_taxi.load.bucket import month as bucket
from nyc_taxi.load.postgres import month as postgres
from nyc_taxi.manifest import StagedFile
from nyc_taxi.settings import GoogleSettings, PostgresSettings, Settings

from ops.paths import ROOT
from ops.stack.google import GoogleServer
from ops.stack.trip_server import TripServer
from ops.synthetic.generate import generate
from tests.chaos.chain import MONTH, STEP, Found, leftovers, load_everywhere, look, stage
from tests.conftest import environment_of, settings_for
from tests.nyc_taxi.load.loading import in_one_instant

SEED = 20261129
SHORT, LONG = pytest.param(4, id="short"), pytest.param(100, id="long", marks=pytest.mark.chaos)
FEW_RACES, MANY_RACES = pytest.param(5, id="short"), pytest.param(200, id="long", marks=pytest.mark.chaos)


@dataclass
class Arena:
    """All targets of one test, and versions of a month to load into them."""

    settings: Settings
    env: dict[str, str]
    versions: dict[str, StagedFile]
    """By rules: of one file, with and without rejected rows."""

    def start(self, rules: str) -> "subprocess.Popen[str]":
        """The chain in a process of its own, which has just begun with it."""
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.chain", rules],
            cwd=ROOT,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        assert f"{STEP}staging\n" in process.stdout, "it reads up to that line"
        return process

    def look(self) -> Found:
        """What the targets hold."""
        return look(self.settings, list(self.versions.values()))


@pytest.fixture
def arena(
    database: PostgresSettings, google: GoogleSettings, google_server: GoogleServer, trips: TripServer, tmp_path: Path
) -> Arena:
    """Everything with the first version loaded."""
    own = replace(google, dataset=f"test_{uuid.uuid4().hex}")
    bigquery_client(own).create_dataset(own.dataset)
    settings = replace(settings_for(database, trips, tmp_path), google=own)
    generate("yellow", str(MONTH), "dtc", 20_000, trips.folder, malformed=5)
    versions = {rules: stage(settings, rules) for rules in ("none", "has_passengers", "positive_distance")}
    env = (
        os.environ
        | google_server.environment()
        | environment_of(database)
        | {
            "GCS_BUCKET": own.bucket,
            "BIGQUERY_DATASET": own.dataset,
            "STAGING_DIR": str(settings.staging_dir),
            "TLC_DTC_BASE_URL": trips.dtc_base_url,
        }
    )
    load_everywhere(versions["none"], settings)
    return Arena(settings, env, versions)


@pytest.mark.parametrize("kills", [SHORT, LONG])
def test_a_run_that_is_killed_at_any_moment_leaves_whole_months_and_the_next_one_heals(
    arena: Arena, kills: int
) -> None:
    choose, runs, noticed, longest = random.Random(SEED), 0, 0, 60.0
    hit: Counter[str] = Counter()
    while hit.total() < kills:
        rules = "has_passengers" if runs == 0 else choose.choice(list(arena.versions))
        process, began = arena.start(rules), time.monotonic()
        runs += 1
        try:
            process.wait(choose.uniform(0, longest) if runs > 1 else longest)
            longest = time.monotonic() - began
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            longest *= 1.02  # the machine may have become slower: the end must have its kills too
        said, _ = process.communicate(timeout=30)
        found = arena.look()
        noticed += (found.bucket is None) + (found.days is None)
        if process.returncode == -signal.SIGKILL:
            hit[f"{STEP}staging\n{said}".rpartition(STEP)[2].split("\n")[0]] += 1
        else:
            assert process.returncode == 0, said
            assert found.is_all(arena.versions[rules])
        assert runs < 10 + 2 * kills, "most runs end before they are killed"
    print(f"{hit.total()} kills in {runs} runs of {longest:.1f} s: {noticed} times a target was half done and said so")
    print(f"where: {dict(hit)}")
    assert kills < 100 or hit.keys() >= {"Postgres", "object", "days", "BigQuery"}
    load_everywhere(arena.versions["none"], arena.settings)
    assert arena.look().is_all(arena.versions["none"])
    assert leftovers(arena.settings) == []


@pytest.mark.parametrize("races", [FEW_RACES, MANY_RACES])
def test_two_runs_of_one_month_in_one_instant_end_as_one_of_them_in_every_target(arena: Arena, races: int) -> None:
    choose, settings = random.Random(SEED), arena.settings
    writers = (
        lambda file: postgres.replace_month(file, settings.postgres),
        lambda file: bucket.replace_month(file, settings.google),
        lambda file: days.replace_month(file, settings.google),
    )
    for race in range(races):
        write = writers[race % len(writers)]
        pair_of_them = choose.sample(list(arena.versions.values()), 2)
        in_one_instant([lambda file=file, write=write: write(file) for file in pair_of_them])  # type: ignore[misc]
        found = arena.look()
        assert [found.postgres, found.bucket, found.days][race % len(writers)] in pair_of_them
    assert leftovers(settings) == []
