"""Many months in one run of a real Mage server: one child per service and month, each failing and retried alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ops.synthetic.generate import generate
from tests.conftest import sql
from tests.server.conftest import Mage, wait

pytestmark = pytest.mark.mage

SERVICES, MONTHS = ("yellow", "green"), ("2019-05", "2019-06", "2019-07")
ROWS = {(service, month): 500 + 100 * i + len(service) for service in SERVICES for i, month in enumerate(MONTHS)}
MISSING = ("green", "2019-06")


def started(mage: Mage, **variables: str) -> int:
    """A run of a trigger made for it, without settings as Run@once has none; its id."""
    trigger = mage.api.create(
        "pipelines/load_many/pipeline_schedules", name="a matrix", schedule_type="api", status="active"
    )
    run = mage.api.create(f"pipeline_schedules/{trigger['id']}/pipeline_runs", variables=variables)
    return int(run["id"])


def when_ended(mage: Mage, run: int, seconds: float = 180) -> tuple[str, dict[str, Mapping[str, Any]]]:
    """The run's status when it has ended, and its block runs by name."""

    def look() -> dict[str, Any] | None:
        found = mage.api.get("pipeline_runs", run)
        return found if found["status"] in ("completed", "failed", "cancelled") else None

    ended = wait(look, seconds, f"the end of run {run}")
    return str(ended["status"]), {block["block_uuid"]: block for block in ended["block_runs"]}


def audited(mage: Mage) -> list[tuple[object, ...]]:
    return sql(
        mage.database,
        "SELECT service, to_char(file_month, 'YYYY-MM'), rows_read FROM ny_taxi.load_audit WHERE status = 'loaded' "
        f"AND to_char(file_month, 'YYYY-MM') BETWEEN '{MONTHS[0]}' AND '{MONTHS[-1]}' ORDER BY 1, 2",
    )


def failures(mage: Mage, run: int) -> list[tuple[object, ...]]:
    return sql(
        mage.database,
        "SELECT block, service, to_char(file_month, 'YYYY-MM'), split_part(error, ' at ', 1) FROM ny_taxi.load_audit "
        f"WHERE status = 'failed' AND pipeline = 'load_many' AND run_id = '{run}' ORDER BY loaded_at",
    )


def table_of(mage: Mage, block_run: Mapping[str, Any]) -> list[list[Any]]:
    """The rows of the table that a block returned."""
    [output] = mage.api.list(f"block_runs/{block_run['id']}/outputs")
    rows: list[list[Any]] = output["sample_data"]["rows"]
    return rows


def test_a_month_that_is_missing_fails_alone_and_is_retried_alone(mage: Mage) -> None:
    for (service, month), rows in ROWS.items():
        if (service, month) != MISSING:
            generate(service, month, "dtc", rows, mage.trips.folder)
    run = started(mage, services=",".join(SERVICES), **{"from": MONTHS[0], "to": MONTHS[-1]})

    status, blocks = when_ended(mage, run)
    children = {f"load_month:{service}_{month}" for service, month in ROWS}
    failed = "load_month:{}_{}".format(*MISSING)
    assert status == "failed"
    assert set(blocks) == {"choose_months", "load_month", "summarise_loads", *children}
    assert {name for name, block in blocks.items() if block["status"] != "completed"} == {failed, "summarise_loads"}
    there = {each: rows for each, rows in ROWS.items() if each != MISSING}
    assert audited(mage) == sorted((*each, rows) for each, rows in there.items())
    table = table_of(mage, blocks["summarise_loads"])
    assert [tuple(row[:3]) for row in table[:-1]] == [(*each, rows) for each, rows in there.items()]
    assert table[-1][:3] == ["total", "5 months", sum(there.values())]

    said = "NotPublished: {} {} is not published".format(*MISSING)
    counted = "CountsDisagree: 6 months were chosen and 5 loaded; missing: {} {}.".format(*MISSING)
    by_month, by_summary = failures(mage, run)
    assert by_month == (failed, *MISSING, said)
    assert by_summary[0] == "summarise_loads"
    assert str(by_summary[3]).startswith(counted)
    [message] = [text for text in mage.messages.texts() if failed in text]
    assert said in message

    generate(*MISSING, "dtc", ROWS[MISSING], mage.trips.folder)
    mage.api.update("pipeline_runs", run, pipeline_run_action="retry_blocks")
    status, again = when_ended(mage, run)
    assert status == "completed"
    assert {name for name in again if again[name]["started_at"] != blocks[name]["started_at"]} == {
        failed,
        "summarise_loads",
    }
    assert audited(mage) == sorted((*each, rows) for each, rows in ROWS.items()), "each of the six is loaded once"

    table = table_of(mage, again["summarise_loads"])
    assert [tuple(row[:3]) for row in table[:-1]] == [(*each, rows) for each, rows in ROWS.items()]
    assert table[-1][:3] == ["total", "6 months", sum(ROWS.values())]
    assert all(read == accepted + rejected for _, _, read, accepted, rejected, _ in table)


def test_a_backfill_of_which_a_month_is_missing_has_failed(mage: Mage) -> None:
    generate("green", "2020-04", "dtc", 300, mage.trips.folder)
    number = mage.api.create("pipelines/load_many/backfills", name="two months")["id"]
    mage.api.update(
        "backfills",
        number,
        name="two months",
        start_datetime="2020-04-01 00:00:00",
        end_datetime="2020-05-01 00:00:00",
        interval_type="month",
        interval_units=1,
        variables={"services": "green", "from": "", "to": ""},
    )
    mage.api.update("backfills", number, status="initial")
    assert mage.wait_for_runs(2, backfill_id=number) == ["completed", "failed"]
    wait(lambda: mage.api.get("backfills", number)["status"] == "failed" or None, 20, "the failure of the backfill")


def test_without_any_month_there_is_nothing_to_summarise(mage: Mage) -> None:
    status, blocks = when_ended(mage, started(mage, services="green", **{"from": "2020-02"}))
    assert status == "failed"
    assert blocks["load_month:green_2020-02"]["status"] == "failed"
    assert blocks["summarise_loads"]["status"] == "upstream_failed"


def test_a_month_that_an_origin_cannot_have_is_refused_before_anything_runs(mage: Mage) -> None:
    asked = len(mage.trips.requests)
    run = started(mage, services="yellow", **{"from": "2021-07", "to": "2021-08"})
    status, blocks = when_ended(mage, run)
    assert (status, blocks["choose_months"]["status"]) == ("failed", "failed")
    assert set(blocks) == {"choose_months", "load_month", "summarise_loads"}, "no child was made"
    log = Path(mage.server.env["MAGE_DATA_DIR"]).glob("*/pipelines/load_many/.logs/*/*/choose_months.log")
    said = "UnknownName: yellow 2021-08 does not exist at origin dtc, which has 2019-01 to 2021-07"
    assert any(said in path.read_text() for path in log)
    assert not any("2021-07" in path or "2021-08" in path for _, path, _ in mage.trips.requests[asked:])
