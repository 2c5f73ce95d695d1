"""
The project from git, before Mage starts: cloned or brought up to date, and checked.

Only a commit that passes `project_check` is ever put to work, by this start or by Mage's own sync later: a git hook
looks at everything that Mage fetches. The last good commit is kept as `refs/last-good`.

As that hook: python -m ops.container.git_sync check COMMIT FOLDER
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ops.container.git_remote import NAME, Remote, what_to_do
from ops.container.project_check import faults
from ops.errors import StartRefused
from ops.paths import ROOT

LAST_GOOD = "refs/last-good"
CANDIDATE = "refs/candidate"
ASIDE = "refs/aside"
REACH_SECONDS = 20
FETCH_SECONDS = 900
FETCH_SECONDS_BEFORE_A_PROBE = 90
"""On Cloud Run a start has four minutes, in which the database may be late by one, and Mage comes up."""
GIT_SECONDS = 120
GITLINK = "160000 "
"""How git lists a submodule."""
SHOWN_FAULTS = 5
WHO = {f"GIT_{role}_{what}": "start@localhost" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
"""Whose the commits are that keep what was changed here."""
# Git asks it before it moves any ref, and again after: nothing broken gets to where Mage's sync looks. The rest of its
# life Mage fetches, so that the newest good commit must be noted here too.
HOOK = """#!/bin/sh
# Written at every start by ops/container/git_sync.py.
while read -r old new ref; do
  [ "$ref" = {tracking} ] || continue
  case "$1 $new" in
    *\\ 0000000000000000000000000000000000000000) ;;
    prepared*) PYTHONPATH={root} {python} -m ops.container.git_sync check "$new" {project} </dev/null || exit 1 ;;
    committed*) git update-ref {last_good} "$new" ;;
  esac
done
"""
Say = Callable[[str], None]


class GitError(RuntimeError):
    """A git command failed; the message is what git said, without secrets."""


@dataclass(frozen=True)
class Checkout:
    """The folder that follows a remote, and the git that works there."""

    folder: Path
    remote: Remote
    env: Mapping[str, str]
    """The environment of git, with what `Remote.environment` adds."""
    spare: Path | None = None
    """A project for where nothing was cloned before and nothing can be now; without one, such a start is refused."""
    probed: bool = False
    """Whether somebody gives this start up after some minutes."""

    def sync(self, say: Say) -> str:
        """
        Bring the folder to the newest commit of the remote's branch that can run; the commit.

        A remote that cannot be reached, and a commit that is broken, leave the last good one running, and say so.
        StartRefused when there is none, and no spare project.
        """
        self._prepare()
        before = self._commit(LAST_GOOD)
        if before and not self._git("ls-tree", before, "--", self.remote.project):
            before = None  # it was good for another folder of the repository
        try:
            newest = self._fetch()
        except GitError as error:
            return self._run_old(before, f"cannot be read: {what_to_do(str(error))}{error}", say)
        if newest != before and (broken := self._faults(newest)):
            listed = "; ".join(broken[:SHOWN_FAULTS]) + (" ..." if len(broken) > SHOWN_FAULTS else "")
            return self._run_old(before, f"is broken at {newest[:12]}: {listed}", say)
        self._put(newest, say)
        say(f"git: {self.remote.link} {self.remote.branch} at {self._title(newest)}")
        return newest

    def check(self, commit: str) -> list[str]:
        """What is wrong with a commit, a line each; the last good one is known to be right."""
        return [] if commit == self._commit(LAST_GOOD) else self._faults(commit)

    def _prepare(self) -> None:
        """A repository with our remote and our hook, whatever an earlier start left behind."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / ".git").exists():
            self._git("init", "--quiet", f"--initial-branch={self.remote.branch}")
        # Nobody else works here yet: a lock is left of a git that was killed.
        for lock in (self.folder / ".git").rglob("*.lock"):
            lock.unlink()
        self._git("config", f"remote.{NAME}.url", self.remote.link)
        self._git("config", f"remote.{NAME}.fetch", f"+refs/heads/*:refs/remotes/{NAME}/*")
        hook = self.folder / ".git" / "hooks" / "reference-transaction"
        hook.parent.mkdir(exist_ok=True)
        values = {"tracking": self.remote.tracking, "root": ROOT, "python": sys.executable, "last_good": LAST_GOOD}
        values["project"] = self.remote.project
        hook.write_text(HOOK.format(**values))
        hook.chmod(0o755)

    def _fetch(self) -> str:
        """Get the branch as it is there now; its newest commit. GitError when that cannot be had."""
        branch = f"refs/heads/{self.remote.branch}"
        listed = self._git("ls-remote", NAME, branch, seconds=REACH_SECONDS)
        if not listed:
            raise GitError(f"it has no branch {self.remote.branch}: push there first, or set GIT_BRANCH")
        # Into a ref of ours, and no other: what is seen as the remote's branch must have been checked.
        seconds = FETCH_SECONDS_BEFORE_A_PROBE if self.probed else FETCH_SECONDS
        self._git("fetch", "--quiet", "--no-tags", "--refmap=", NAME, f"+{branch}:{CANDIDATE}", seconds=seconds)
        newest = self._commit(CANDIDATE)
        if newest is None:
            raise GitError(f"{branch} is no commit")
        return newest

    def _faults(self, commit: str) -> list[str]:
        """Look at a commit's files in a folder of their own."""
        folder = Path(tempfile.mkdtemp(prefix="commit-"))
        try:
            # By an index of its own, and not as an archive, which leaves out what .gitattributes calls export-ignore.
            index = {"GIT_INDEX_FILE": str(folder / "index")}
            self._git("read-tree", commit, more=index)
            self._git("checkout-index", "--all", f"--prefix={folder}/files/", more=index)
            project = self.remote.project
            return self._submodules(commit) or faults(folder / "files" / project, self.env)
        finally:
            shutil.rmtree(folder)

    def _submodules(self, commit: str) -> list[str]:
        """Repositories in the project's folder that git would have to fetch too: Mage does not."""
        listed = self._git("ls-tree", "-r", commit, "--", f"{self.remote.project}/").splitlines()
        names = [line.partition("\t")[2] for line in listed if line.startswith(GITLINK)]
        return [f"{name} is a submodule, which is not fetched: put its files into this repository" for name in names]

    def _run_old(self, last_good: str | None, why: str, say: Say) -> str:
        problem = f"{self.remote.link} {self.remote.branch} {why}"
        if last_good is None:
            if self.spare is None:
                raise StartRefused(
                    f"{problem}. Nothing was cloned before, so that there is nothing to run: fix that first"
                )
            last_good = self._commit_of(self.spare)
        say(f"WARNING git: {problem}")
        say(f"WARNING git: the last good commit runs instead, {self._title(last_good)}")
        self._put(last_good, say)
        return last_good

    def _commit_of(self, project: Path) -> str:
        """A commit of the spare project alone, which counts as good until the remote has one."""
        there = self.folder / self.remote.project
        shutil.copytree(project, there, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        self._git("add", "--all")
        return self._git("commit-tree", "-m", "The project of the image", self._git("write-tree"), more=WHO)

    def _put(self, commit: str, say: Say) -> None:
        """Make the folder hold this good commit; what was changed here is kept as a ref of its own."""
        self._git("update-ref", LAST_GOOD, commit)
        self._git("update-ref", self.remote.tracking, commit)
        if head := self._commit("HEAD"):
            self._keep("Files were changed", self._git("stash", "create", more=WHO), say)
            # Whatever was once seen at the remote was not made here, even if its history was rewritten since.
            seen = self._git("reflog", "show", "--format=%H", self.remote.tracking).split()
            unseen = self._git("rev-list", "--max-count=1", head, "--not", f"--remotes={NAME}", *set(seen))
            self._keep("There were commits", unseen, say)
        self._git("symbolic-ref", "HEAD", f"refs/heads/{self.remote.branch}")
        self._git("reset", "--quiet", "--hard", commit)

    def _keep(self, what: str, commit: str, say: Say) -> None:
        if commit:
            kept = f"{ASIDE}/{datetime.now(UTC):%Y%m%d-%H%M%S}-{commit[:12]}"
            self._git("update-ref", kept, commit)
            say(f"WARNING git: {what} here and never pushed: kept, see `git -C {self.folder} show {kept}`")

    def _commit(self, name: str) -> str | None:
        """The commit that a name stands for; None when there is none."""
        try:
            return self._git("rev-parse", "--quiet", "--verify", f"{name}^{{commit}}")
        except GitError:
            return None

    def _title(self, commit: str) -> str:
        return self._git("show", "--no-patch", "--format=%h %cs %s", commit)

    def _git(self, *arguments: str, seconds: float = GIT_SECONDS, more: Mapping[str, str] | None = None) -> str:
        """What git prints; GitError with its last words when it fails, or takes too long."""
        env = {**self.env, **(more or {}), "LC_ALL": "C"}
        process = subprocess.Popen(
            ["git", "-C", str(self.folder), *arguments],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
            errors="replace",
        )
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # its helpers too: they hold the line
            process.communicate()
            raise GitError(f"no answer within {seconds:.0f} s") from None
        if process.returncode:
            raise GitError(self._said(err) or f"git {arguments[0]} ended with {process.returncode}")
        return out.strip()

    def _said(self, text: str) -> str:
        """Git's words on one line; advice and secrets left out."""
        for secret in (self.remote.token, self.remote.private_key):
            text = text.replace(secret, "***") if secret else text
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        telling = [line for line in lines if line.startswith(("fatal:", "error:", "remote:", "ssh:", "Host key"))]
        return " ".join(dict.fromkeys(telling or lines))


def main() -> int:
    """Git's hook, in the repository: 1 and the faults on stderr for a commit that must not be put to work."""
    if sys.argv[1:2] != ["check"] or len(sys.argv) != 4:
        raise SystemExit(__doc__)
    found = Checkout(Path.cwd(), Remote("", "", "", project=sys.argv[3]), os.environ).check(sys.argv[2])
    for fault in found[:SHOWN_FAULTS]:
        print(f"error: {sys.argv[2][:12]} is broken and is not put to work: {fault}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
