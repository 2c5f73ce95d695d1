"""An SSH server on this machine that lets one key in: a git host that is read over SSH."""

import base64
import getpass
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ops.ports import free_port
from ops.wait import wait_until
from tests.deploy.git_host import GitHost


@dataclass
class SshHost:
    """An SSH server on this machine that lets one key in."""

    port: int
    known_hosts: str
    private_key: str

    def remote_for(self, host: GitHost, **change: str) -> dict[str, str]:
        """The variables that name a host's repository over SSH."""
        return {
            "GIT_REPO_LINK": f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{host.folder}/taxi.git",
            "GIT_SSH_PRIVATE_KEY": base64.b64encode(self.private_key.encode()).decode(),
            "GIT_KNOWN_HOSTS": self.known_hosts,
            **change,
        }


@contextmanager
def running_ssh_host(tmp_path: Path) -> Iterator[SshHost]:
    """A real sshd, where the machine has one."""
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if sshd is None:
        pytest.skip("no sshd on this machine: apt-get install openssh-server")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # it wants an empty folder of root's
    folder, port = tmp_path / "sshd", free_port()
    folder.mkdir(mode=0o700)
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)
    (folder / "config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
        "StrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nPidFile none\n"
    )
    process = subprocess.Popen([sshd, "-D", "-e", "-f", str(folder / "config")], stderr=subprocess.DEVNULL)
    key = " ".join((folder / "host.pub").read_text().split()[:2])
    try:
        assert wait_until(lambda: free_port(port) != port, 20, unless=lambda: process.poll() is not None)
        yield SshHost(port, f"[127.0.0.1]:{port} {key}", (folder / "user").read_text())
    finally:
        process.kill()
        process.wait()
