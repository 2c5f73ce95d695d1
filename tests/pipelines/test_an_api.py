"""docs/add-an-api.md, run to the letter: in a pipeline of Mage, into Postgres and BigQuery, from an API of its own."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from google.cloud import bigquery
from nyc_taxi.load.postgres.connection import connect
from nyc_taxi.settings import PostgresSettings

from ops import set_up
from ops.commands import run
from ops.paths import PROJECT, ROOT
from ops.stack.google import GoogleServer
from tests.conftest import sql

PAGE = (ROOT / "docs" / "add-an-api.md").read_text()
FILES = dict(re.findall(r"^In `([^`]+)`:\n\n```\w+\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL))
[SHOWN] = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
[(BLOCK, CODE)] = [(name, text) for name, text in FILES.items() if name.endswith(".py")]
PER_PAGE = 100
ROWS = "SELECT station, docks FROM bikes.stations ORDER BY station"


@dataclass
class Api:
    """The page's API on this machine: stations that changed since, a hundred a page."""

    items: list[dict[str, Any]]
    asked: list[dict[str, str]] = field(default_factory=list)
    refused: int = 0
    """The page from which on every answer is 500; 0: none."""
    turns: list[dict[str, Any]] = field(default_factory=list)
    """What changes in the last station before each of the next runs."""
    url: str = ""

    def answer(self, query: str) -> tuple[int, dict[str, Any]]:
        given = {name: values[0] for name, values in parse_qs(query).items()}
        self.asked.append(given)
        number = int(given["page"])
        if number == 1 and self.turns:
            self.items[-1] = self.items[-1] | self.turns.pop(0)
        found = [item for item in self.items if item["updated_at"] >= given["updated_since"]]
        found.sort(key=lambda item: str(item["updated_at"]))
        page = found[(number - 1) * PER_PAGE : number * PER_PAGE]
        broken = self.refused and number >= self.refused
        return 500 if broken else 200, {"pages": max(1, -(-len(found) // PER_PAGE)), "items": page}

    def change(self, station: int, at: str, **values: object) -> None:
        next(item for item in self.items if item["station"] == station).update(values, updated_at=at)

    @property
    def rows(self) -> list[tuple[object, ...]]:
        return sorted((item["station"], item["docks"]) for item in self.items)


@pytest.fixture
def api() -> Iterator[Api]:
    """250 stations, a minute apart."""
    stamps = [f"2024-05-01T{number // 60:02}:{number % 60:02}:00Z" for number in range(250)]
    found = Api([{"station": n, "name": f"S{n}", "docks": n % 40, "updated_at": at} for n, at in enumerate(stamps)])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, answer = found.answer(urlsplit(self.path).query)
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.url = f"http://127.0.0.1:{server.server_port}/api"
        Thread(target=server.serve_forever, daemon=True).start()
        yield found
        server.shutdown()


@pytest.fixture(scope="module")
def packages() -> str:
    """The folder of dlt's packages, made when a test first asks for it."""
    try:
        python = set_up.make(".venv-dlt")
    except set_up.SetUpFailed as failed:
        if "the package index does not answer" in str(failed):
            pytest.skip("the package index cannot be reached, and .venv-dlt is not there")
        raise
    [folder] = python.parents[1].glob("lib/python*/site-packages")
    return str(folder)


@pytest.fixture
def own_env(env: dict[str, str], database: PostgresSettings, packages: str) -> Iterator[dict[str, str]]:
    """The environment of a run with dlt, and no table of an earlier one."""
    sql(database, "DROP SCHEMA IF EXISTS bikes CASCADE; DROP SCHEMA IF EXISTS bikes_staging CASCADE")
    library = str(PROJECT / "utils")
    yield env | {"PYTHONPATH": f"{library}{os.pathsep}{packages}", "RUNTIME__REQUEST_MAX_ATTEMPTS": "1"}
    sql(database, "DROP SCHEMA IF EXISTS bikes CASCADE; DROP SCHEMA IF EXISTS bikes_staging CASCADE")


Load = Callable[..., str]
RUN_BLOCK = """
import json, sys
found = {"__name__": "block", "data_loader": lambda block: block}
exec(open(sys.argv[1]).read(), found)
for target in sys.argv[3:]:
    try:
        print(found["load_bike_stations"](api=sys.argv[2], target=target)["stations"], flush=True)
    except Exception as error:
        print(type(error).__name__, *str(error).split())
"""


@pytest.fixture
def command(api: Api, tmp_path: Path) -> list[str]:
    """The page's block alone, without Mage's start; it prints what it counted or why it failed, a line for a target."""
    return [sys.executable, "-W", "ignore", "-c", RUN_BLOCK, str(tmp_path / "block.py"), api.url]


@pytest.fixture
def load(command: list[str], own_env: dict[str, str], tmp_path: Path) -> Load:
    def run_block(*targets: str, code: str = CODE) -> str:
        (tmp_path / "block.py").write_text(code)
        ran = subprocess.run(
            [*command, *(targets or ("postgres",))],
            cwd=tmp_path,
            env=own_env,
            capture_output=True,
            text=True,
            check=True,
        )
        return ran.stdout.strip()

    return run_block


def test_the_block_has_the_style_of_the_others(tmp_path: Path) -> None:
    for name in ("pyproject.toml", BLOCK):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / BLOCK).write_text(CODE)
    for check in (("check",), ("format", "--check")):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *check, BLOCK], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.mage
def test_the_page_s_pipeline_fills_its_table(
    own_env: dict[str, str], api: Api, database: PostgresSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "checkout"
    shutil.copytree(PROJECT, copy / PROJECT.name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in FILES.items():
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_text(text)
    monkeypatch.setattr(run, "PROJECT", copy / PROJECT.name)
    api.items = json.loads(SHOWN)["items"]
    [pipeline] = [Path(name).parent.name for name in FILES if name.endswith("metadata.yaml")]
    assert f"`taxi run {pipeline}`" in PAGE
    run.run_pipeline(pipeline, {"api": api.url}, own_env)
    assert sql(database, ROWS) == [(4, 18), (17, None)]
    assert api.asked == [{"updated_since": "2000-01-01T00:00:00Z", "page": "1"}]

    api.change(4, "2024-06-01T00:00:00Z", docks="many")
    with pytest.raises(run.PipelineFailed, match=r"'docks'.*data_type.*should be a valid integer"):
        run.run_pipeline(pipeline, {"api": api.url}, own_env)
    assert sql(database, ROWS) == [(4, 18), (17, None)]


def test_what_is_new_is_merged_and_the_target_knows_how_far_it_is(
    load: Load, api: Api, database: PostgresSettings
) -> None:
    assert load("postgres", "postgres") == "250\n0"
    assert [asked["page"] for asked in api.asked] == ["1", "2", "3", "1"]
    api.change(7, "2024-05-02T00:00:00Z", docks=99)
    api.items.append({"station": 250, "name": "New", "docks": None, "updated_at": "2024-05-02T00:00:00Z"})
    del api.asked[:]
    assert load() == "2"  # another process, whose folder is new
    assert api.asked == [{"updated_since": "2024-05-01T04:09:00Z", "page": "1"}]
    assert sql(database, ROWS) == api.rows


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"docks": "many"}, "'docks'.* `data_type` .*valid integer"),
    ({"docks": 2.5}, "'docks'.* `data_type` .*fractional part"),
    ({"docks": 9, "updated_at": "yesterday"}, "'updated_at'.* `data_type` .*valid datetime"),
    ({"updated_at": "2024-05-03T00:00:00Z", "name": None}, "'name'.* `data_type` .*valid string"),
    ({"name": "S", "tags": ["a"]}, "'tags'.* `columns` .*not permitted"),
]
"""What the last station is, one after another, and what is said of it."""


def test_what_is_against_the_contract_is_refused_and_nothing_is_stored(
    load: Load, api: Api, database: PostgresSettings
) -> None:
    right, changes = dict(api.items[-1]), [change for change, _ in WRONG]
    api.turns = [*changes]
    without_table = load(*["postgres"] * len(WRONG)).splitlines()
    assert sql(database, "SELECT to_regclass('bikes.stations')") == [(None,)]
    api.items[-1] = right | {"docks": "9"}  # a text that is a number is taken as one
    api.turns = [{}, *changes]
    first, *with_table = load(*["postgres"] * (1 + len(WRONG))).splitlines()
    assert first == "250"
    for line, (_, why) in zip([*without_table, *with_table], WRONG * 2, strict=True):
        assert re.search(why, line)
    api.items[-1] = right | {"docks": 9}
    assert sql(database, ROWS) == api.rows


def test_a_column_is_added_as_the_page_says(load: Load, api: Api, database: PostgresSettings) -> None:
    assert load() == "250"
    api.change(249, "2024-05-02T00:00:00Z", borough="Queens")
    [declared] = re.findall(r"`(borough: [^`]+)`", PAGE)
    [evolves] = re.findall(r"`(\"columns\": \"evolve\")`", PAGE)
    wider = CODE.replace("    docks:", f"    {declared}\n    docks:")
    assert "frozen" in load(code=wider)
    assert load(code=wider.replace('"columns": "freeze"', evolves)) == "1"
    api.change(248, "2024-05-03T00:00:00Z", borough="Bronx")
    assert load(code=wider) == "1"
    held = "SELECT borough, count(*) FROM bikes.stations GROUP BY 1 ORDER BY 1"
    assert sql(database, held) == [("Bronx", 1), ("Queens", 1), (None, 248)]


def test_bigquery_is_filled_alike(
    load: Load, api: Api, google_server: GoogleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in google_server.environment().items():
        monkeypatch.setenv(name, value)
    client = bigquery.Client(location="US")
    for dataset in ("bikes", "bikes_staging"):
        client.delete_dataset(dataset, delete_contents=True, not_found_ok=True)
    later = {"updated_at": "2024-05-02T00:00:00Z"}
    api.turns = [{}, {}, {"docks": 99} | later, {"docks": "many"}]
    first, nothing, changed, refused = load(*["bigquery"] * 4).splitlines()
    assert (first, nothing, changed) == ("250", "0", "1")
    assert "valid integer" in refused
    api.items[-1]["docks"] = 99
    assert [tuple(row) for row in client.query_and_wait(ROWS)] == api.rows


def test_a_failure_in_the_middle_is_healed_by_the_next_run(
    load: Load, api: Api, database: PostgresSettings, command: list[str], own_env: dict[str, str], tmp_path: Path
) -> None:
    api.refused = 3
    assert "500 Server Error" in load()
    assert sql(database, "SELECT to_regclass('bikes.stations')") == [(None,)]
    api.refused = 0
    assert load() == "250"

    for item in api.items[:120]:
        item |= {"docks": 77, "updated_at": "2024-05-02T00:00:00Z"}
    killed = subprocess.Popen([*command, "postgres"], cwd=tmp_path, env=own_env, stdout=subprocess.DEVNULL)
    kill_at_its_merge(killed, database)
    assert sql(database, "SELECT count(*) FROM bikes.stations WHERE docks = 77") == [(0,)]
    assert load() == "120"
    assert sql(database, ROWS) == api.rows


def kill_at_its_merge(process: subprocess.Popen[bytes], database: PostgresSettings) -> None:
    """Hold the table, so that the rows get to the staging schema and no further; kill loader and connection there."""
    waiting = "FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%stations%'"
    with connect(database) as holding:
        holding.cursor().execute("LOCK TABLE bikes.stations")
        until = time.monotonic() + 30
        while sql(database, f"SELECT count(*) {waiting}") == [(0,)]:
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
        assert sql(database, "SELECT count(*) FROM bikes_staging.stations") == [(120,)]
        process.kill()
        assert process.wait(10) == -signal.SIGKILL
        sql(database, f"SELECT pg_terminate_backend(pid) {waiting}")


def test_the_page_s_yaml_is_as_mage_writes_it() -> None:
    [text] = [text for name, text in FILES.items() if name.endswith("metadata.yaml")]
    assert yaml.dump(yaml.safe_load(text), allow_unicode=True) == text
