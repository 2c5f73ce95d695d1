"""
Make the environments of this checkout, each filled by uv from a lock with hashes: `sh ops/set_up.sh .venv ...`.

Standard library only: there is nothing else yet. An environment is finished when its file `.ready` holds the digest of
its locks; one without is made anew, from uv's cache as far as that got.
"""

import errno
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from ops.paths import ROOT

UV, MAIN = ".venv-uv", ".venv"
STREAMING = f"{MAIN}+streaming"
"""The packages of an extra, installed into the environment before the +; they make no environment of their own."""
PROVIDER_LOCK = "tests/deploy/provider/requirements.txt"
LOCKS = {
    UV: ("requirements-uv.txt",),
    MAIN: ("requirements-dev.txt",),
    STREAMING: ("requirements-streaming.txt",),
    ".venv-emulators": ("ops/emulators/requirements.txt",),
    ".venv-deploy": ("tests/deploy/requirements.txt", PROVIDER_LOCK),
    ".venv-scanners": ("tests/deploy/scanners.txt",),
    ".venv-dlt": ("tests/pipelines/dlt.txt",),
    ".bench/venv": ("bench/requirements.txt",),
}
"""The environments, below ROOT; the first lock of each is installed. pip brings uv, which makes all others."""
LOCKED = ("--no-deps", "--require-hashes", "--only-binary", ":all:", "-r")
LOG = ROOT / ".local" / "set-up.log"

# Of the caller's settings for uv and pip, those that say how to reach an index. Any other, such as UV_PYTHON,
# PIP_USER or a VIRTUAL_ENV, would bring other packages or bring them elsewhere.
_REACH = re.compile(
    r"(UV|PIP)_(\w*INDEX\w*|FIND_LINKS|CACHE_DIR|CONFIG_FILE|OFFLINE|HTTP_\w+|\w*TIMEOUT|\w*CERTS?|PROXY|"
    r"\w+_HOST|KEYRING_PROVIDER|LINK_MODE|CONCURRENT_\w+)"
)
_MISLEADING = re.compile(r"(UV|PIP|CONDA|PYTHON)\w*|VIRTUAL_ENV")
_FULL = f"the disk is full: some 3 GB are needed for {ROOT} and uv's cache"
_CLOSED = f"{ROOT} cannot be written: make a checkout where you may write"
_NO_LINKS = f"{ROOT} is on a file system without links and permissions: make a checkout on this system's own disk"
# What uv, pip and Python say of a fault, and what it means here. The first that is found counts.
_MEANINGS = (
    (r"No space left|quota exceeded|File too large|os error (28|122|27)\b", _FULL),
    (r"Read-only file system|os error 30\b", _CLOSED),
    (r"os error 1\b", _NO_LINKS),
    (r"UnknownIssuer|certificate|CERTIFICATE", "add your company's authority to this machine's, or set SSL_CERT_FILE"),
    (
        r"error sending request|dns error|os error 11[01]\b|onnection refused|[Tt]imed? ?out|NewConnectionError"
        r"|nreachable|failure in name resolution|No matching distribution found for uv",
        "the package index does not answer: check network and proxy, or set UV_DEFAULT_INDEX and PIP_INDEX_URL",
    ),
    (r"no usable wheels", "a package has no wheel for this machine; there are for Linux (x86_64, ARM) and macOS (ARM)"),
)
_ERRNOS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EROFS: _CLOSED,
    errno.EACCES: _CLOSED,
    errno.EPERM: _NO_LINKS,
}


class SetUpFailed(RuntimeError):
    """An environment could not be made; the message is one line that says why and what to do."""


def make(name: str) -> Path:
    """Make the environment of this name, unless it is finished, and return its Python. SetUpFailed says what to do."""
    if name != UV:
        make(UV)
    base, _, extra = name.partition("+")
    if extra:
        make(base)
    ready, python = ROOT / base / (f".{extra}" if extra else ".ready"), _python(base)
    digest = hashlib.sha256(b"".join((ROOT / lock).read_bytes() for lock in LOCKS[name])).hexdigest()
    try:
        with _locked(name):
            anew = not ready.exists() or (name != UV and _another_python_is_asked_for(ROOT / base))
            if extra and (anew or ready.read_text() != digest):
                print(f"Installing the packages of the extra {extra} into {base}", flush=True)
                _install(python, LOCKS[name][0])
            elif anew or ready.read_text() != digest:
                _fill(name, anew=anew)
            if name == MAIN:  # in a second: the programs that pyproject.toml names may be others
                _uv("pip", "install", "--no-deps", "--no-build-isolation", "--editable", ROOT, "--python", python)
            ready.write_text(digest)  # last: what was interrupted is not finished
    except OSError as error:
        raise SetUpFailed(f"{_ERRNOS.get(error.errno or 0, error)}; then the same again") from None
    return python


def _fill(name: str, *, anew: bool) -> None:
    """Install an environment's packages, from wheels alone and with their bytecode: else Mage starts 10 s later."""
    folder, python, lock = ROOT / name, _python(name), LOCKS[name][0]
    print(f"Installing the locked packages into {name}", flush=True)
    (folder / ".ready").unlink(missing_ok=True)
    if anew:
        shutil.rmtree(folder, ignore_errors=True)
    if name == UV:
        venv.create(folder, symlinks=True)
        _run([python, "-m", "ensurepip"])
        _pip("install", "--no-compile", *LOCKED, ROOT / lock)
        return
    if anew:
        _uv("venv", "--no-project", "--python", sys.executable, folder)
    _install(python, lock)
    if PROVIDER_LOCK in LOCKS[name]:  # never installed: its types are read from the wheel
        _pip("download", "--dest", folder / "wheels", *LOCKED, ROOT / PROVIDER_LOCK)


def _install(python: Path, lock: str) -> None:
    _uv("pip", "install", "--compile-bytecode", "--python", python, *LOCKED, ROOT / lock)


def _another_python_is_asked_for(folder: Path) -> bool:
    """Whether PYTHON names a Python of another version than that of the environment in `folder`."""
    has = re.search(r"^version(?:_info)? = (\d+\.\d+)", (folder / "pyvenv.cfg").read_text(), re.MULTILINE)
    asked = "{}.{}".format(*sys.version_info)
    return bool(os.environ.get("PYTHON")) and (has is None or has[1] != asked)


def _python(name: str) -> Path:
    return ROOT / name / "bin" / "python"


def _pip(*arguments: str | Path) -> None:
    _run([_python(UV), "-m", "pip", *arguments, "--retries", "2", "--disable-pip-version-check"])


def _uv(*arguments: str | Path) -> None:
    _run([_python(UV).with_name("uv"), *arguments, "--no-python-downloads"], **_pips_index())


def _run(command: Sequence[str | Path], **env: str) -> str:
    """What a program of the set-up prints. SetUpFailed with the cause when it fails, and all that it said in LOG."""
    ran = subprocess.run(
        command,
        cwd="/",  # in a project, uv would put its overrides above the locks
        env={**_environment(), **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        close_fds=False,  # the lock: see _locked
    )
    if ran.returncode == 0:
        return ran.stdout
    said = ran.stdout + ran.stderr
    with suppress(OSError):
        LOG.write_text(said)
    last = " ".join((said.strip().splitlines() or [f"exit code {ran.returncode}"])[-1].split())
    meaning = next((meaning for found, meaning in _MEANINGS if re.search(found, said)), "see there")
    raise SetUpFailed(f"{meaning}; then the same again ({last[:120]}; all of it in {LOG})")


def _environment() -> dict[str, str]:
    """The caller's, without what would mislead uv and pip."""
    kept = {name: value for name, value in os.environ.items() if _REACH.fullmatch(name) or not _MISLEADING.match(name)}
    return {"UV_SYSTEM_CERTS": "1", **kept}  # a company's proxy has an authority of its own


@cache
def _pips_index() -> dict[str, str]:
    """The index that pip is told to ask, for uv, unless uv is told itself."""
    if any(re.match(r"UV_\w*INDEX", name) for name in os.environ):
        return {}
    told = re.findall(r"^\S+\.index-url='(.+)'$", _run([_python(UV), "-m", "pip", "config", "list"]), re.MULTILINE)
    return {"UV_DEFAULT_INDEX": told[-1]} if told else {}


@contextmanager
def _locked(name: str) -> Iterator[None]:
    """One process at a time makes an environment; children hold the lock too, should they outlive it."""
    LOG.parent.mkdir(exist_ok=True)
    with (LOG.parent / f"set-up-{name.replace('/', '-')}.lock").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main(names: Sequence[str]) -> int:
    """Make the environments, side by side; 1 with a line when one cannot be made, 130 when interrupted."""
    began = time.monotonic()
    try:
        make(UV)
        with ThreadPoolExecutor(len(names)) as workers:
            for _ in workers.map(make, names):
                pass
    except SetUpFailed as failed:
        print(f"FAILED  {failed}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted: the next make goes on where this one stopped", file=sys.stderr)
        return 130
    print(f"Set up in {time.monotonic() - began:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
