"""Where a server runs, and what one that others can reach must not start with."""

from collections.abc import Mapping

from ops.mage.owner import EMAIL

NAMES = ("production", "prod")
"""Values of ENV that mean production, to Mage and here."""
SHORTEST_PASSWORD = 12
SHORTEST_JWT_SECRET = 16
# Mage's own defaults, and what people write where they mean to write something else later.
PLACEHOLDERS = {"admin", "change-me", "changeme", "materia", "mage", "owner", "password", "placeholder", "secret"}
DEFAULT_EMAILS = {"admin@admin.com", EMAIL}
# Code comes from git or with the image: an edit in the web UI of a production server would be lost.
LOCKED = {"DISABLE_NOTEBOOK_EDIT_ACCESS": "1"}
"""What a server has in production, unless its environment says otherwise."""
ON = {"true", "1", "t"}
"""What Mage takes for yes; anything else is no."""


def is_production(env: Mapping[str, str]) -> bool:
    """Whether ENV says so."""
    return env.get("ENV") in NAMES


def is_on_cloud_run(env: Mapping[str, str]) -> bool:
    """Whether this is Google's Cloud Run, a service or a job of it: no file outlives the instance there."""
    return "K_SERVICE" in env or "CLOUD_RUN_JOB" in env


def refusals(env: Mapping[str, str]) -> list[str]:
    """What must be fixed before a server starts with this environment, a line each; [] when nothing."""
    found = []
    if env.get("REQUIRE_USER_AUTHENTICATION", "1").lower() not in ON:
        found.append("REQUIRE_USER_AUTHENTICATION turns sign-in off: leave it out")
    if is_production(env):
        found += _production(env)
    return found


def _production(env: Mapping[str, str]) -> list[str]:
    found = []
    if env.get("REQUIRE_USER_PERMISSIONS", "0").lower() in ON:
        found.append(
            "REQUIRE_USER_PERMISSIONS locks out everybody, the owner too, where code cannot be edited: leave it out"
        )
    email, password = env.get("DEFAULT_OWNER_EMAIL", ""), env.get("DEFAULT_OWNER_PASSWORD", "")
    if email.lower() in DEFAULT_EMAILS or "@" not in email:
        found.append(f"DEFAULT_OWNER_EMAIL is {_said(email)}: set it to the owner's own address")
    if why := _weak(password, SHORTEST_PASSWORD):
        found.append(f"DEFAULT_OWNER_PASSWORD is {why}: set one, such as `openssl rand -base64 24` prints")
    if why := _weak(env.get("JWT_SECRET", ""), SHORTEST_JWT_SECRET):
        found.append(f"JWT_SECRET is {why}: set one, such as `openssl rand -base64 32` prints")
    if not env.get("MAGE_DATABASE_CONNECTION_URL") and not env.get("POSTGRES_HOST"):
        found.append(
            "MAGE_DATABASE_CONNECTION_URL is empty: users, triggers and runs would be gone with the container; set it "
            "to a Postgres database, or POSTGRES_HOST and its four companions"
        )
    elif "POSTGRES_PASSWORD" in env and (why := _weak(env["POSTGRES_PASSWORD"], SHORTEST_PASSWORD)):
        found.append(f"POSTGRES_PASSWORD is {why}: set a real one, there and in the database")
    return found


def _said(text: str) -> str:
    return f"{text!r}, a default" if text else "empty"


def _weak(secret: str, shortest: int) -> str:
    """What is wrong with a secret, without saying it; empty when nothing."""
    if not secret:
        return "empty"
    if secret.lower() in PLACEHOLDERS or (secret.startswith("<") and secret.endswith(">")):
        return "a default or placeholder that everybody knows"
    return f"shorter than {shortest} characters" if len(secret) < shortest else ""
