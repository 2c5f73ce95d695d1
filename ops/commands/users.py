"""`taxi users`: the accounts of a Mage server and their roles: list, add, change, remove. See docs/users.md."""

import secrets
import sys

import click
from rich.console import Console
from rich.table import Table

from ops.commands.arguments import examples
from ops.errors import CommandFailed
from ops.mage.access.sessions import Role
from ops.mage.api import Json, MageApi
from ops.mage.connect import connect_to_mage

ROLES = tuple(role.value for role in Role if role is not Role.NONE)
SHORTEST_PASSWORD = 8
"""Characters, as Mage demands."""


def accounts(api: MageApi) -> dict[str, Json]:
    """Mage's users by their e-mail."""
    return {str(user["email"]): user for user in api.list("users")}


def role_of(user: Json) -> str:
    """Owner, editor, viewer, or what else Mage calls the roles of a user; none without one."""
    names = sorted(str(role["name"]).lower() for role in user["roles_new"] or ())
    return "owner" if user["owner"] else ", ".join(names) or "none"


def account(api: MageApi, email: str) -> Json:
    """The user with this e-mail; CommandFailed with the nearest when there is none."""
    from nyc_taxi.errors import not_one_of

    known = accounts(api)
    if email not in known:
        raise CommandFailed(not_one_of("account", email, known))
    return known[email]


def add(api: MageApi, email: str, role: str, password: str) -> None:
    """Make an account; CommandFailed when the e-mail has one."""
    if email in accounts(api):
        raise CommandFailed(f"{email} has an account: change its role with taxi users role {email} --role {role}")
    given = {"password": password, "password_confirmation": password, "roles_new": [_role_id(api, role)]}
    api.create("users", email=email, username=email, **given)


def change_role(api: MageApi, email: str, role: str) -> None:
    """Give an account this role and no other; CommandFailed for the last owner."""
    user = account(api, email)
    if role != "owner":
        _keep_an_owner(api, user)
    api.update("users", user["id"], role_ids=[_role_id(api, role)])


def change_password(api: MageApi, email: str, password: str) -> None:
    """Give an account of somebody else another password."""
    user = account(api, email)
    if email == api.email:
        raise CommandFailed(f"{email} is who signs in here: set DEFAULT_OWNER_PASSWORD in .env and start Mage anew")
    api.update("users", user["id"], password=password, password_confirmation=password)


def remove(api: MageApi, email: str) -> None:
    """Remove an account, and with it its sessions; CommandFailed for the last owner."""
    user = account(api, email)
    _keep_an_owner(api, user)
    api.delete("users", user["id"])


def _keep_an_owner(api: MageApi, user: Json) -> None:
    owners = [email for email, each in accounts(api).items() if role_of(each) == "owner"]
    if owners == [user["email"]]:
        raise CommandFailed(f"{user['email']} is the only owner: make another one first")


def _role_id(api: MageApi, role: str) -> int:
    return next(int(each["id"]) for each in api.list("roles") if str(each["name"]).lower() == role)


def _password(from_stdin: bool) -> str:
    """The first line of stdin, or a new password."""
    if not from_stdin:
        return secrets.token_urlsafe(12)
    password = sys.stdin.readline().rstrip("\r\n")
    if len(password) < SHORTEST_PASSWORD:
        raise CommandFailed(f"the password has fewer than {SHORTEST_PASSWORD} characters")
    return password


def _say(email: str, password: str, from_stdin: bool) -> None:
    if not from_stdin:
        click.echo(f"{email} signs in with {password}: it is not said again")


class _Role(click.Choice):
    """One of ROLES; another is refused with the nearest."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from nyc_taxi.errors import not_one_of

        if value not in ROLES:
            self.fail(not_one_of("role", value, ROLES), param, ctx)
        return value


def _email(ctx: click.Context, param: click.Parameter, text: str) -> str:
    name, at, host = text.strip().lower().partition("@")
    if not (name and at and host) or any(letter.isspace() or letter == "@" for letter in name + host):
        raise click.BadParameter(f"{text!r} is not an e-mail address", ctx, param)
    return f"{name}@{host}"


_email_argument = click.argument("email", callback=_email)
_role_option = click.option("--role", type=_Role(ROLES), required=True, help="What it may do: see docs/users.md.")
_stdin_option = click.option("--password-stdin", is_flag=True, help="Read the password from stdin, not make one.")


@click.group(
    "users",
    invoke_without_command=True,
    epilog=examples(
        "taxi users",
        "taxi users add viewer@example.com --role viewer",
        "taxi users role viewer@example.com --role editor",
        "taxi users password viewer@example.com",
        "taxi users remove viewer@example.com",
    ),
)
@click.pass_context
def command(ctx: click.Context) -> int:
    """List the accounts of Mage, or change them: of MAGE_URL, of the Mage that runs, or of one started for this."""
    if ctx.invoked_subcommand is not None:
        return 0
    with connect_to_mage() as reached:
        lines = Table("e-mail", "role")
        for email, user in accounts(reached.api).items():
            lines.add_row(email, role_of(user))
        Console(width=None if sys.stdout.isatty() else 160).print(lines)
    return 0


@command.command("add", epilog=examples("taxi users add viewer@example.com --role viewer"))
@_email_argument
@_role_option
@_stdin_option
def add_command(email: str, role: str, password_stdin: bool) -> None:
    """Make an account; its password is said once."""
    password = _password(password_stdin)
    with connect_to_mage() as reached:
        add(reached.api, email, role, password)
    _say(email, password, password_stdin)


@command.command("role", epilog=examples("taxi users role viewer@example.com --role editor"))
@_email_argument
@_role_option
def role_command(email: str, role: str) -> None:
    """Give an account another role."""
    with connect_to_mage() as reached:
        change_role(reached.api, email, role)
    click.echo(f"{email} is {role}")


@command.command("password", epilog=examples("taxi users password viewer@example.com"))
@_email_argument
@_stdin_option
def password_command(email: str, password_stdin: bool) -> None:
    """Give an account another password, which is said once."""
    password = _password(password_stdin)
    with connect_to_mage() as reached:
        change_password(reached.api, email, password)
    _say(email, password, password_stdin)


@command.command("remove", epilog=examples("taxi users remove viewer@example.com"))
@_email_argument
def remove_command(email: str) -> None:
    """Remove an account; who is signed in with it is out at once."""
    with connect_to_mage() as reached:
        remove(reached.api, email)
    click.echo(f"{email} is removed")
