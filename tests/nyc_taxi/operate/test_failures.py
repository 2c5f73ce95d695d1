"""What is told of a failed block, and the row it leaves on a real Postgres."""

from dataclasses import replace
from datetime import date, datetime

import pytest
from nyc_taxi.errors import NotPublished
from nyc_taxi.operate.failures import LONGEST_ERROR, describe, record
from nyc_taxi.settings import PostgresSettings, without_secrets

from ops.ports import free_port
from tests.conftest import sql

RUN = {"pipeline_uuid": "api_to_postgres", "pipeline_run_id": 12}
GREEN = RUN | {"service": "green", "month": "2020-10", "origin": "dtc"}
ERROR = NotPublished("green 2020-10 is not published")


def test_a_message_begins_with_service_month_and_block() -> None:
    failure = describe(ERROR, "load_api_data", GREEN)
    assert str(failure) == "green 2020-10 (dtc) load_api_data: NotPublished: green 2020-10 is not published"
    row = failure.row
    assert (row.pipeline, row.block, row.run_id) == ("api_to_postgres", "load_api_data", "12")
    assert (row.service, row.month, row.origin) == ("green", date(2020, 10, 1), "dtc")
    assert row.error == "NotPublished: green 2020-10 is not published"


def test_the_month_may_be_that_of_the_execution_date() -> None:
    scheduled = GREEN | {"month": "", "month_offset": -2, "execution_date": datetime(2021, 1, 31), "origin": ""}
    assert describe(ERROR, "a_block", scheduled).about == "green 2020-11"


@pytest.mark.parametrize(
    ("wrong", "about"),
    [
        ({"service": "purple"}, "service=purple month=2020-10 origin=dtc"),
        ({"month": "october"}, "service=green month=october origin=dtc"),
        ({"origin": "moon"}, "service=green month=2020-10 origin=moon"),
        ({"month": ""}, "service=green month= origin=dtc"),
    ],
)
def test_variables_that_make_no_sense_are_told_as_they_are(wrong: dict[str, object], about: str) -> None:
    failure = describe(ERROR, "load_api_data", GREEN | wrong)
    assert (failure.row.service, failure.row.month, failure.row.origin) == (None, None, None)
    assert failure.row.error == f"NotPublished: green 2020-10 is not published [{about}]"
    assert str(failure) == f"{about} load_api_data: NotPublished: green 2020-10 is not published"


def test_a_pipeline_whose_variables_name_no_month_is_told_without_one() -> None:
    failure = describe(ERROR, "load_green_taxi", RUN)
    assert str(failure) == "load_green_taxi: NotPublished: green 2020-10 is not published"
    assert (failure.row.service, failure.row.month) == (None, None)


def test_a_child_of_many_has_its_month_in_its_name() -> None:
    failure = describe(ERROR, "load_month:yellow_2021-03", RUN | {"services": "green,yellow", "origin": "dtc"})
    assert str(failure).startswith("yellow 2021-03 (dtc) load_month:yellow_2021-03: NotPublished: ")
    assert (failure.row.service, failure.row.month) == ("yellow", date(2021, 3, 1))
    assert describe(ERROR, "load_month:0", RUN).row.month is None


def test_an_error_is_one_line_of_bounded_length() -> None:
    failure = describe(ValueError("one\n  two\t\tthree\n"), "a_block", GREEN)
    assert failure.row.error == "ValueError: one two three"
    long = describe(ValueError("x" * 10_000), "a_block", GREEN)
    assert len(long.row.error) == LONGEST_ERROR + 3
    assert long.row.error.endswith("xxx...")
    assert len(str(long)) < 1_600


def test_no_secret_of_the_environment_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    hook, password = "https://hooks.slack.com/services/T0/B0/xyz", "tr0ub4dor"
    monkeypatch.setenv("SLACK_WEBHOOK_URL", hook)
    monkeypatch.setenv("POSTGRES_PASSWORD", password)
    failure = describe(ValueError(f"cannot post to {hook} as mage:{password}"), "a_block", GREEN)
    assert failure.row.error == "ValueError: cannot post to *** as mage:***"
    assert password not in str(failure)


@pytest.mark.parametrize(
    ("environ", "text", "told"),
    [
        ({"GIT_ACCESS_TOKEN": "ghp_1234"}, "token ghp_1234", "token ***"),
        ({"SMTP_PASSWORD": "long-one", "JWT_SECRET": "long"}, "long-one, long", "***, ***"),
        ({"HIDE_API_TRIGGER_TOKEN": "1", "X_TOKEN": "true", "Y_SECRET": ""}, "1 is true", "1 is true"),
        ({"SMTP_HOST": "mail.example.org"}, "mail.example.org", "mail.example.org"),
        ({}, "postgresql+psycopg2://mage:p%40ss@db:5432/x", "postgresql+psycopg2://***@db:5432/x"),
        ({}, "https://example.org/a:b@c", "https://example.org/a:b@c"),
    ],
)
def test_secrets_are_known_by_their_names(environ: dict[str, str], text: str, told: str) -> None:
    assert without_secrets(text, environ) == told


def test_a_failure_leaves_its_row_where_nothing_was_yet(
    database: PostgresSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert record(describe(ERROR, "load_api_data", GREEN), database)
    columns = "status, pipeline, block, service, file_month, origin, run_id, error, target, url, rows_read, seconds"
    assert sql(database, f"SELECT {columns} FROM ny_taxi.load_audit") == [
        (
            *("failed", "api_to_postgres", "load_api_data", "green", date(2020, 10, 1), "dtc", "12"),
            *("NotPublished: green 2020-10 is not published", None, None, None, None),
        )
    ]
    assert (
        capsys.readouterr().out == f"The failure is in ny_taxi.load_audit: {describe(ERROR, 'load_api_data', GREEN)}\n"
    )
    others = "SELECT count(*) FROM pg_class WHERE relnamespace = 'ny_taxi'::regnamespace AND relkind IN ('r', 'p')"
    assert sql(database, others) == [(1,)], "no table of trips is made"


def test_a_server_out_of_reach_is_one_line_and_no_error(
    database: PostgresSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not record(describe(ERROR, "a_block", GREEN), replace(database, port=free_port()))
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("The failure is not in ny_taxi.load_audit: Postgres at 127.0.0.1:")
    assert "nothing listens there: start the server (taxi up)" in line
