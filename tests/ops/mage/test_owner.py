"""The owner's password and the session secret are made once, kept in .env for one pair of eyes, and count in Mage."""

import stat
from pathlib import Path

import bcrypt
import pytest
from nyc_taxi.settings import PostgresSettings

from ops.mage.owner import EMAIL, SECRETS, Owner, renew_password, stored_owner
from tests.conftest import metadata_url_of, sql


@pytest.fixture(autouse=True)
def no_secrets_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*SECRETS, "DEFAULT_OWNER_EMAIL"):
        monkeypatch.delenv(name, raising=False)


def test_secrets_are_made_once_and_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / ".env"
    owner = stored_owner(file)
    said = capsys.readouterr().out
    assert said == f"{EMAIL} signs in with {owner.password}: kept in {file}, not said again\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (len(owner.password), len(owner.jwt_secret)) == (24, 24)
    assert owner.password != owner.jwt_secret
    assert stored_owner(file) == owner
    assert capsys.readouterr().out == ""
    assert owner.password not in repr(owner)


def test_what_a_person_wrote_stays_and_becomes_private(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / ".env"
    file.write_text("# mine\nMAGE_HOST_PORT=6790\nDEFAULT_OWNER_PASSWORD=chosen\nDEFAULT_OWNER_EMAIL=me@example.org\n")
    file.chmod(0o644)
    owner = stored_owner(file)
    assert (owner.email, owner.password) == ("me@example.org", "chosen")
    assert file.read_text().splitlines()[:4] == [
        "# mine",
        "MAGE_HOST_PORT=6790",
        "DEFAULT_OWNER_PASSWORD=chosen",
        "DEFAULT_OWNER_EMAIL=me@example.org",
    ]
    assert file.read_text().splitlines()[4:] == [f"JWT_SECRET={owner.jwt_secret}"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert capsys.readouterr().out == ""


def test_an_empty_line_of_a_secret_is_filled_and_not_repeated(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("DEFAULT_OWNER_PASSWORD=\nJWT_SECRET=\n")
    owner = stored_owner(file)
    assert file.read_text() == f"DEFAULT_OWNER_PASSWORD={owner.password}\nJWT_SECRET={owner.jwt_secret}\n"


def test_the_password_that_is_kept_is_the_one_that_counts(
    database: PostgresSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    url = metadata_url_of(database, database.dbname)
    owner = Owner(EMAIL, "new", "x")
    assert renew_password(url, owner) is False  # Mage has not made its tables yet
    sql(database, 'CREATE TABLE "user" (email text, password_hash text, password_salt text)')
    try:
        assert renew_password(url, owner) is False  # nor its account
        old = bcrypt.hashpw(b"old", bcrypt.gensalt(4)).decode()
        sql(database, f"INSERT INTO \"user\" VALUES ('{EMAIL}', '{old}', ''), ('other@example.org', '{old}', '')")
        assert renew_password(url, owner) is True
        assert capsys.readouterr().out == f"The password of {EMAIL} is now the one of DEFAULT_OWNER_PASSWORD\n"
        assert renew_password(url, owner) is False
        [(other, theirs), (me, mine)] = sql(database, 'SELECT email, password_hash FROM "user" ORDER BY email')
        assert (other, theirs, me) == ("other@example.org", old, EMAIL)
        assert bcrypt.checkpw(b"new", str(mine).encode())
    finally:
        sql(database, 'DROP TABLE "user"')
