"""
The repository that an instance follows: its address and credentials, from Mage's own variables.

Git gets every secret through its environment or a private file, never through an address or a command line.
"""

import base64
import binascii
import os
import pwd
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from ops.errors import StartRefused
from ops.paths import PROJECT, write_private

ADVICE = {
    ("authentication failed", "could not read username", "403", "401", "permission denied (publickey"): (
        "the token or key is not accepted, it may have expired: set GIT_ACCESS_TOKEN to a new one that may read the "
        "repository (GitHub, fine-grained: Contents, read), or GIT_SSH_PRIVATE_KEY"
    ),
    ("not found", "does not appear to be a git repository", "does not exist"): (
        "the repository is not there, or the token may not see it: check GIT_REPO_LINK and the token's rights"
    ),
    ("could not resolve", "failed to connect", "no answer", "timed out", "connection"): (
        "the host does not answer: check the network, the next sync tries again"
    ),
}
"""By signs in git's words; the first that fits counts."""
NAME = "mage-repo"
"""What Mage calls its remote."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Letters that no shell, ref or option gives a meaning to.
_BRANCH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]*")
_FOLDER = re.compile(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)*", re.ASCII)
_SSH = re.compile(r"(ssh://)?[A-Za-z0-9_][\w.-]*@[A-Za-z0-9][A-Za-z0-9.-]*(:|/)\S+")
# Reads the two from the environment: a program's environment is its owner's alone, its command line is everybody's.
_HELPER = '!f() { [ "$1" != get ] || printf "username=%s\\npassword=%s\\n" "$GIT_SYNC_USER" "$GIT_SYNC_TOKEN"; }; f'
# Mage's own name for the file of GIT_SSH_PRIVATE_KEY.
_KEY = "id_rsa_mage_git_ssh_private_key_b64"


@dataclass(frozen=True)
class Remote:
    """One branch of one repository, and what opens it."""

    link: str
    """https://host/owner/name.git, or git@host:owner/name.git; never with a password in it."""
    branch: str
    user: str
    token: str = field(default="", repr=False)
    private_key: str = field(default="", repr=False)
    """The text of an SSH key; empty when the repository is read over HTTPS."""
    project: str = PROJECT.name
    """The project's folder in the repository."""
    known_hosts: str = ""
    """The keys of the SSH host, as `ssh-keyscan` writes them: no other is believed."""

    @property
    def uses_ssh(self) -> bool:
        """Whether git goes over SSH."""
        return bool(self.private_key)

    @property
    def tracking(self) -> str:
        """The ref that says where the branch was seen last; Mage's own sync resets the project to it."""
        return f"refs/remotes/{NAME}/{self.branch}"

    def environment(self, home: Path, repository: Path) -> dict[str, str]:
        """What git, started by us or by Mage, needs to reach the remote; `prepare` makes the files it names."""
        settings = {
            "credential.helper": "",  # nobody else is asked, and nothing is stored
            "http.lowSpeedLimit": "1000",  # bytes a second: less is a dead line
            "http.lowSpeedTime": "30",
            "safe.directory": str(repository),
        }
        variables = {"GIT_TERMINAL_PROMPT": "0"}
        if self.uses_ssh:
            variables["GIT_SSH_COMMAND"] = " ".join(shlex.quote(part) for part in self.ssh_command(home))
        elif self.token:
            parts = urlsplit(self.link)
            # For this host alone: a redirect to another one gets no token.
            settings[f"credential.{parts.scheme}://{parts.netloc}.helper"] = _HELPER
            variables |= {"GIT_SYNC_USER": self.user, "GIT_SYNC_TOKEN": self.token}
        for number, (key, value) in enumerate(settings.items()):
            variables |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        return variables | {"GIT_CONFIG_COUNT": str(len(settings))}

    def ssh_command(self, home: Path) -> list[str]:
        """How git calls ssh: this key, and these hosts' keys only."""
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": "15",
            "GlobalKnownHostsFile": "/dev/null",
            "IdentitiesOnly": "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": str(pinned_hosts(home)),
        }
        return ["ssh", "-i", str(home / ".ssh" / _KEY), *(f"-o{name}={value}" for name, value in options.items())]

    def prepare(self, home: Path) -> None:
        """Write the files that ssh needs, for their owner only; nothing for HTTPS."""
        if not self.uses_ssh:
            return
        folder = home / ".ssh"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(folder / _KEY, self.private_key.rstrip("\n") + "\n")
        write_private(pinned_hosts(home), self.known_hosts.rstrip("\n") + "\n")
        # Mage adds whatever key a host shows to this file, and only asks for it when the file is missing.
        # It is not the one that ssh reads here: see the image's ssh_config.
        (folder / "known_hosts").touch()


def pinned_hosts(home: Path) -> Path:
    """The file of the host keys that are believed."""
    return home / ".ssh" / "pinned_hosts"


def what_to_do(error: str) -> str:
    """What to do about git's words, before them; nothing where they say it themselves."""
    text = error.lower()
    return next((f"{advice}: " for signs, advice in ADVICE.items() if any(sign in text for sign in signs)), "")


def remote_of(env: Mapping[str, str]) -> Remote | None:
    """The remote that the environment names; None without GIT_REPO_LINK. StartRefused for one that cannot be right."""
    link = env.get("GIT_REPO_LINK", "").strip()
    if not link:
        return None
    branch = env.get("GIT_BRANCH") or "main"
    if not _BRANCH.fullmatch(branch) or ".." in branch:
        raise StartRefused(f"GIT_BRANCH {branch!r} is no branch's name such as main")
    project = (env.get("GIT_PROJECT_PATH") or PROJECT.name).strip("/")
    if not _FOLDER.fullmatch(project):
        raise StartRefused(f"GIT_PROJECT_PATH {project!r} is no folder of the repository such as data/{PROJECT.name}")
    kind = env.get("GIT_AUTH_TYPE", "").lower() or ("ssh" if _SSH.fullmatch(link) else "https")
    user = env.get("GIT_USERNAME") or "git"
    if kind == "ssh":
        return replace(_over_ssh(link, branch, user, env), project=project)
    if kind == "https":
        return replace(_over_https(link, branch, user, env), project=project)
    raise StartRefused(f"GIT_AUTH_TYPE {kind!r} is neither https nor ssh")


def _over_https(link: str, branch: str, user: str, env: Mapping[str, str]) -> Remote:
    no_address = StartRefused("GIT_REPO_LINK is no address such as https://github.com/you/name.git")
    try:
        parts = urlsplit(link)
    except ValueError:
        raise no_address from None
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise no_address
    if "@" in parts.netloc:
        raise StartRefused("GIT_REPO_LINK holds a password: put it into GIT_ACCESS_TOKEN, and the bare address here")
    token = env.get("GIT_ACCESS_TOKEN", "")
    if token and parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise StartRefused(f"GIT_REPO_LINK would send the token unencrypted to {parts.hostname}: make it https://")
    if parts.hostname == "bitbucket.org":
        user = "x-token-auth"
    return Remote(link, branch, user, token)


def _over_ssh(link: str, branch: str, user: str, env: Mapping[str, str]) -> Remote:
    if not _SSH.fullmatch(link):
        raise StartRefused("GIT_REPO_LINK is no address such as git@github.com:you/name.git")
    known_hosts = env.get("GIT_KNOWN_HOSTS", "")
    if not known_hosts.strip():
        raise StartRefused(
            "GIT_KNOWN_HOSTS is empty: put the host's key there, as `ssh-keyscan -t ed25519 HOST` prints it, after "
            "comparing it with the one that the host publishes"
        )
    try:
        key = base64.b64decode("".join(env.get("GIT_SSH_PRIVATE_KEY", "").split()), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        key = ""
    if "PRIVATE KEY" not in key:
        raise StartRefused("GIT_SSH_PRIVATE_KEY is no private key in base64: make it with `base64 -w0 KEY_FILE`")
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        raise StartRefused(
            f"ssh knows no user {os.getuid()}: run as the image's own user, or use HTTPS and a token"
        ) from None
    return Remote(link, branch, user, private_key=key, known_hosts=known_hosts)
