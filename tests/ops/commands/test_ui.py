"""`taxi ui`: what it refuses before anything starts. tests/server has what it serves."""

from pathlib import Path

import pytest

from ops.commands.ui import refuse_weak
from ops.errors import LocalStackError
from ops.mage import owner

GOOD = {
    "DEFAULT_OWNER_EMAIL": "ada@example.com",
    "DEFAULT_OWNER_PASSWORD": "a long password of hers",
    "JWT_SECRET": "a long secret of the server",
    "ENV": "production",
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"DEFAULT_OWNER_PASSWORD": "x"}, "DEFAULT_OWNER_PASSWORD is shorter than 12 characters"),
        ({"JWT_SECRET": "short"}, "JWT_SECRET is shorter than 16 characters"),
        ({"DEFAULT_OWNER_EMAIL": "owner@localhost.local"}, "DEFAULT_OWNER_EMAIL is 'owner@localhost.local', a default"),
    ],
)
def test_production_refuses_what_is_weak_and_only_production(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: dict[str, str], said: str
) -> None:
    def settings(**values: str) -> dict[str, str]:
        monkeypatch.setattr(owner, "configured", lambda **_: dict(values))
        return values

    with pytest.raises(LocalStackError, match=said):
        refuse_weak(settings(**GOOD | change))
    refuse_weak(settings(**GOOD))
    refuse_weak(settings(**GOOD | change | {"ENV": "dev"}))
