"""`taxi sql --on bigquery`: what it asks, what it prints, and that it only reads."""

import uuid
from dataclasses import replace
from typing import Any

import pytest
from google.cloud import bigquery as client
from nyc_taxi.errors import TargetUnavailable
from nyc_taxi.google import bigquery_client
from nyc_taxi.settings import GoogleSettings

from ops.commands.sql import bigquery
from ops.errors import CommandFailed
from tests.nyc_taxi.load.bigquery.bigquery_helpers import query


@pytest.fixture
def dataset(google: GoogleSettings) -> GoogleSettings:
    """A data set with a table `trips` of two rows."""
    named = replace(google, dataset=f"test_{uuid.uuid4().hex}")
    bigquery_client(named).create_dataset(named.dataset)
    query(named, f"CREATE TABLE `{named.dataset}.trips` AS SELECT 1 AS n UNION ALL SELECT 2")
    return named


def test_a_name_without_a_data_set_is_one_of_the_configured_one(dataset: GoogleSettings) -> None:
    assert bigquery.ask("select sum(n) as total from trips;", dataset) == (["total"], [["3"]])


def test_values_are_written_as_bigquery_writes_them_and_null_is_empty(dataset: GoogleSettings) -> None:
    sql = "select true, null, date '2021-01-31', datetime '2021-01-31 23:59:59', struct(1 as a, [true] as b), b'a'"
    [row] = bigquery.ask(sql, dataset)[1]
    assert row == ["true", "", "2021-01-31", "2021-01-31 23:59:59", '{"a": 1, "b": [true]}', "61"]


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("delete from trips where true", "DELETE"),
        ("drop table trips", "DROP_TABLE"),
        ("select 1; drop table trips", "SCRIPT"),
        ("-- select\ninsert into trips values (3)", "INSERT"),
    ],
)
def test_what_does_more_than_read_is_refused_and_not_run(sql: str, kind: str, dataset: GoogleSettings) -> None:
    with pytest.raises(CommandFailed, match=f"only reads, and this is no SELECT but {kind}"):
        bigquery.ask(sql, dataset)
    assert bigquery.ask("select count(*) from trips", dataset)[1] == [["2"]]


def test_what_bigquery_refuses_is_one_line(dataset: GoogleSettings) -> None:
    with pytest.raises(TargetUnavailable, match="no such table in data set") as refused:
        bigquery.ask("select * from nowhere", dataset)
    assert "\n" not in str(refused.value)


def test_on_the_real_one_the_cost_is_said_first_and_apart_from_the_answer(
    dataset: GoogleSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    emulator = bigquery_client(dataset)
    monkeypatch.setattr(bigquery, "bigquery_client", lambda settings: emulator)
    asked: list[bool] = []
    real = client.Client.query

    def remembered(self: client.Client, text: str, config: client.QueryJobConfig, **named: Any) -> Any:
        asked.append(bool(config.dry_run))
        return real(self, text, config, **named)

    monkeypatch.setattr(client.Client, "query", remembered)
    assert bigquery.ask("select n from trips order by n", replace(dataset, bigquery_emulator=""))[1] == [["1"], ["2"]]
    assert asked == [True, False]
    said = capsys.readouterr()
    assert (said.out, said.err.startswith("0 bytes to scan; at USD 6.25 per TiB")) == ("", True)
