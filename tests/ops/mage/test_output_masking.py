"""What a block's output hides: secrets; and what it shows: the rest of the settings."""

import importlib.util
import re
from collections.abc import Callable
from typing import Any

import pytest

from ops.mage.patches import output_masking
from ops.mage.patches.output_masking import SECRET, SHOWN
from ops.paths import ROOT

SETTINGS = set(re.findall(r"^([A-Z_]+)=", (ROOT / "dev.env").read_text(), re.MULTILINE))
SOUNDS_SECRET = re.compile("PASSWORD|SECRET|TOKEN|WEBHOOK|PRIVATE|CONNECTION_URL")


@pytest.fixture
def mages(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Mage's own function, patched, in the environment that is given."""
    spec = importlib.util.find_spec(output_masking.MODULE)
    assert spec is not None
    assert spec.loader is not None
    security: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(security)
    assert output_masking.is_needed(security)
    output_masking.apply(security)

    def printed(text: str, **env: str) -> str:
        monkeypatch.setattr(security.os, "environ", env)
        filtered: str = security.filter_out_env_var_values(text)
        return filtered

    return printed


def test_every_setting_is_either_secret_or_shown() -> None:
    assert not SECRET & SHOWN
    assert SETTINGS <= SECRET | SHOWN
    assert {name for name in SETTINGS | SHOWN | SECRET if SOUNDS_SECRET.search(name)} == SECRET


@pytest.mark.parametrize("name", sorted(SHOWN))
def test_what_is_no_secret_is_shown(mages: Callable[..., str], name: str) -> None:
    assert mages("in trips-of-mine today", **{name: "trips-of-mine", "POSTGRES_PASSWORD": "a-password"}) == (
        "in trips-of-mine today"
    )


@pytest.mark.parametrize("name", [*sorted(SECRET), "STRIPE_KEY", "OF_ONES_OWN"])
def test_a_secret_is_hidden_though_another_setting_has_its_value(mages: Callable[..., str], name: str) -> None:
    assert mages("in trips-of-mine today", **{name: "trips-of-mine"}) == "in ************* today"
    twice = mages("in trips-of-mine today", **{name: "trips-of-mine", "GCS_BUCKET": "trips-of-mine"})
    assert (twice == "in ************* today") == (name in SECRET)


def test_a_secret_is_hidden_in_an_address_and_in_json_too(mages: Callable[..., str]) -> None:
    odd = 'p"a/ss@word'
    assert mages(f'{odd} p%22a%2Fss%40word p\\"a/ss@word', POSTGRES_PASSWORD=odd) == " ".join(
        "*" * length for length in (11, 17, 12)
    )


def test_an_address_is_shown_unless_an_account_is_in_it(mages: Callable[..., str]) -> None:
    for name in ("TLC_DTC_BASE_URL", "GIT_REPO_LINK", "MAGE_PUBLIC_HOST"):
        assert mages("https://a.example/b", **{name: "https://a.example/b"}) == "https://a.example/b"
        assert mages("git@github.com:me/taxi.git", **{name: "git@github.com:me/taxi.git"}).startswith("git@")
        hidden = mages("https://me:hunter22@a.example/b and hunter22", **{name: "https://me:hunter22@a.example/b"})
        assert hidden == f"{'*' * 31} and ********"
        assert mages("https://ghp_token@a.example/b", **{name: "https://ghp_token@a.example/b"}) == "*" * 29
