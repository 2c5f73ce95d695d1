"""`taxi triggers`: what it refuses before a Mage is started. What it compares: tests/server/test_triggers.py."""

from collections.abc import Callable

import pytest


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("foo/bar", "API trigger 'foo/bar' is not one of api_to_postgres/webhook"),
        ("api_to_postgres/webhok", "did you mean api_to_postgres/webhook?"),
        ("api_to_postgres", "API trigger 'api_to_postgres' is not one of"),
        ("", "API trigger '' is not one of"),
    ],
)
def test_a_trigger_that_is_not_in_code_gets_no_token(given: str, said: str, refused: Callable[..., str]) -> None:
    assert said in " ".join(refused("triggers", "--new-token", given).split())


def test_of_another_mage_only_the_form_is_known(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAGE_URL", "https://mage.example.org")
    assert "'theirs' is not of the form PIPELINE/TRIGGER" in refused("triggers", "--new-token", "theirs")


def test_only_orphans_are_removed(refused: Callable[..., str]) -> None:
    assert "'orphan' is not 'orphans'" in refused("triggers", "--remove", "orphan")


def test_one_thing_at_a_time(refused: Callable[..., str]) -> None:
    said = refused("triggers", "--remove", "orphans", "--new-token", "api_to_postgres/webhook")
    assert "Either --remove or --new-token" in said
