"""The account that owns this machine's Mage, and the secret that signs its sessions: in .env, made when missing."""

import os
import secrets
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import bcrypt
import psycopg2

from ops.paths import local_dir, write_private
from ops.stack.env_file import written
from ops.stack.environment import OWN, configured

EMAIL = "owner@localhost.local"
SECRETS = ("DEFAULT_OWNER_PASSWORD", "JWT_SECRET")


@dataclass(frozen=True)
class Owner:
    """Who signs in, with which password, and what signs the sessions."""

    email: str
    password: str = field(repr=False)
    jwt_secret: str = field(repr=False)


def stored_owner(file: Path = OWN) -> Owner:
    """
    The owner that .env, dev.env or the shell names.

    A secret that none of them has is made, written to .env, which only its owner can read from then on, and said once.
    """
    values = configured(own=file)
    email = values.get("DEFAULT_OWNER_EMAIL", EMAIL)
    made = {name: secrets.token_urlsafe(18) for name in SECRETS if name not in values}
    if made:
        before = file.read_text() if file.exists() else ""
        kept = [line for line in before.splitlines() if line.partition("=")[0].strip() not in made]
        write_private(file, "\n".join([*kept, *(f"{name}={written(value)}" for name, value in made.items())]) + "\n")
    if "DEFAULT_OWNER_PASSWORD" in made:
        print(f"{email} signs in with {made['DEFAULT_OWNER_PASSWORD']}: kept in {file}, not said again", flush=True)
    elif file.exists() and file.stat().st_mode & 0o077:
        os.chmod(file, 0o600)
    values |= made
    return Owner(email, values["DEFAULT_OWNER_PASSWORD"], values["JWT_SECRET"])


def renew_password(metadata_url: str, owner: Owner) -> bool:
    """
    Make the owner's password the one that counts in Mage's database too, and say so; whether it was another one.

    Mage takes it from the environment at its very first start only. A database without the account is no error.
    """
    if not metadata_url.startswith("postgresql"):
        return False  # Mage's own file: make the account's password anew in its settings
    address = metadata_url.replace("postgresql+psycopg2://", "postgresql://", 1)
    with closing(psycopg2.connect(address)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('\"user\"') IS NOT NULL")
        if cursor.fetchone() != (True,):
            return False
        cursor.execute('SELECT password_hash FROM "user" WHERE email = %s', (owner.email,))
        found = cursor.fetchone()
        if found is None or bcrypt.checkpw(owner.password.encode(), found[0].encode()):
            return False
        salt = bcrypt.gensalt()
        cursor.execute(
            'UPDATE "user" SET password_hash = %s, password_salt = %s WHERE email = %s',
            (bcrypt.hashpw(owner.password.encode(), salt).decode(), salt.decode(), owner.email),
        )
    print(f"The password of {owner.email} is now the one of DEFAULT_OWNER_PASSWORD", flush=True)
    return True


def kept_secret(name: str) -> str:
    """A random secret of this machine, made once and kept in a file that only its owner can read."""
    path = local_dir() / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, secrets.token_urlsafe(18))
    return path.read_text().strip()
