"""A production server that is killed in the middle of a backfill, and the command that finds none and goes on."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from nyc_taxi.load.postgres.connection import connect
from nyc_taxi.load.postgres.locks import advisory_lock

from ops.commands.backfill.plan import plan_backfill
from ops.commands.backfill.runs import look, start
from ops.commands.pipelines import Served
from ops.commands.triggers import State, compare
from ops.mage.api import MageApi
from ops.mage.server import MageServer
from ops.ports import free_port
from ops.synthetic.generate import generate
from tests.conftest import sql
from tests.server.conftest import OWNER, Mage, wait

MONTHS = {"2021-03": 300, "2021-04": 310, "2021-05": 320}
METADATA = "mage_killed"


@pytest.fixture
def production(mage: Mage, tmp_path: Path) -> Iterator[Mage]:
    """Another server as production has it: project, database and data folder of its own; the same targets."""
    sql(mage.database, f"CREATE DATABASE {METADATA}")
    database = mage.database
    where = f"{database.user}:{database.password}@{database.host}:{database.port}/{METADATA}"
    env = {
        **mage.server.env,
        "ENV": "production",
        "MAGE_DATABASE_CONNECTION_URL": f"postgresql+psycopg2://{where}",
        "MAGE_DATA_DIR": str(tmp_path / "data"),
        "NYC_TAXI_LOCAL_DIR": str(tmp_path / "local"),
        "DEFAULT_OWNER_EMAIL": OWNER.email,
        "DEFAULT_OWNER_PASSWORD": OWNER.password,
        "JWT_SECRET": OWNER.jwt_secret,
    }
    checkout = Path(shutil.copytree(mage.checkout, tmp_path / "checkout"))
    with MageServer(env, free_port(), checkout / "magic-zoomcamp", tmp_path / "mage.log", OWNER) as running:
        api = MageApi(running.url, OWNER.email, OWNER.password)
        yield replace(mage, server=running, api=api, checkout=checkout)


def loads(mage: Mage) -> dict[str, list[int]]:
    """Rows read by every load of the three months."""
    found = sql(
        mage.database,
        "SELECT to_char(file_month, 'YYYY-MM'), rows_read FROM ny_taxi.load_audit "
        "WHERE status = 'loaded' AND service = 'green' AND file_month BETWEEN '2021-03-01' AND '2021-05-01'",
    )
    return {month: [int(str(rows)) for of, rows in found if of == month] for month in MONTHS}


def test_all_months_complete_once_each_though_the_server_is_killed_in_the_middle(
    production: Mage, tmp_path: Path
) -> None:
    for month, rows in MONTHS.items():
        generate("green", month, "dtc", rows, production.trips.folder)
    api, server = production.api, production.server
    # In production every trigger in code is there, those too that are for nothing else.
    assert {row.state for row in compare(production.checkout / "magic-zoomcamp", api, "production")} == {State.SAME}

    given = {"pipeline": "api_to_postgres", "service": "green", "from": "2021-03", "to": "2021-05", "parallel": "2"}
    with connect(production.database) as held, held.cursor() as cursor:
        # The month's lock: its run comes as far as the replacement, and stays there.
        advisory_lock(cursor, "ny_taxi.green_cab_data 2021-04")
        number = start(plan_backfill(given, Served(api)), api)

        def in_the_middle() -> bool | None:
            runs = {run.day: run for run in look(number, api).runs}
            writing = production.running_blocks(runs["2021-04"].number) == ["taxi_data_to_postgres"]
            return True if writing and runs["2021-03"].status == "completed" else None

        wait(in_the_middle, 90, "a run in the middle of its month")
        temporary = Path(psutil.Process(server.pid).environ()["TMPDIR"])
        assert any(temporary.iterdir())
        server.stop(signal.SIGKILL)
        assert not temporary.exists()
        assert loads(production) == {"2021-03": [300], "2021-04": [], "2021-05": []}

        # No Mage answers now: the command starts one on the same port, with the same data and database.
        env = {**server.env, "MAGE_HOST_PORT": str(server.port)}
        show = [sys.executable, "-m", "ops.cli", "backfill", "--show", str(number)]
        said = tmp_path / "said"
        with said.open("w") as out:
            looking = subprocess.Popen(show, cwd=production.checkout, env=env, stdout=out, stderr=out)
        wait(lambda: True if "done    2021-03" in said.read_text() else None, 120, "the command's own Mage")
        wait(in_the_middle, 90, "the same run in the middle of its month again")
        looking.send_signal(signal.SIGINT)
        assert looking.wait(60) == 130
        assert f"No Mage runs at {server.url}: one is started for as long as this takes" in said.read_text()
        assert "The Mage that was started for it ends too" in said.read_text()
        assert free_port(server.port) == server.port, "the server that was started for it still runs"

    run = subprocess.run(
        show, cwd=production.checkout, env=env, capture_output=True, text=True, timeout=240, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert sorted(run.stdout.splitlines()[1:4]) == [f"done    {month}" for month in MONTHS]
    assert run.stdout.splitlines()[4:] == ["3 done, 0 failed"]
    assert loads(production) == {month: [rows] for month, rows in MONTHS.items()}
    held_rows = "SELECT to_char(file_month, 'YYYY-MM'), count(*) FROM ny_taxi.green_cab_data WHERE file_month BETWEEN "
    audited = "SELECT to_char(file_month, 'YYYY-MM'), rows_accepted FROM ny_taxi.load_audit WHERE file_month BETWEEN "
    span = "'2021-03-01' AND '2021-05-01'"
    counted = sql(production.database, f"{held_rows}{span} GROUP BY 1 ORDER BY 1")
    assert counted == sql(production.database, f"{audited}{span} AND service = 'green' ORDER BY 1")
    assert free_port(server.port) == server.port, "the server that was started for it still runs"
