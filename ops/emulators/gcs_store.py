"""What the Cloud Storage emulator keeps: objects as files, changed in one step, whole after SIGKILL at any moment."""

import base64
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.storage import Storage

from ops.emulators.gcs_requests import Content, Refused, Resource

Query = Mapping[str, list[str]]


@dataclass
class Session:
    """A resumable upload under way."""

    bucket: str
    resource: Resource
    content: Content
    lock: threading.Lock = field(default_factory=threading.Lock)


class Store(Storage):
    """
    Objects as files; what is known of them in memory and in a journal.

    The journal, FOLDER/objects.jsonl, gets a line before an object's file is renamed into place. A file's modification
    time is its object's generation, so that after a crash the right line is found: the last one of that generation.
    """

    def __init__(self, folder: Path) -> None:
        self.lock = threading.RLock()
        """Held while state changes, never while content comes or goes."""
        self.arriving = folder / "arriving"
        self.sessions: dict[str, Session] = {}
        self._journal_path = folder / "objects.jsonl"
        self._generation = 0
        shutil.rmtree(self.arriving, ignore_errors=True)
        self.arriving.mkdir(parents=True)
        super().__init__(data_dir=str(folder))
        self._journal = self._journal_path.open("ab", buffering=0)

    def find(self, bucket: str, name: str) -> Resource | None:
        """An object's resource."""
        found: Resource | None = self.objects.get(bucket, {}).get(name)
        return found

    def open(self, bucket: str, name: str, query: Query, method: str = "GET") -> tuple[Resource, BinaryIO]:
        """An object and its content, of the same generation whatever happens next."""
        with self.lock:
            found = self.checked(bucket, name, query, method)
            return found, self.path(bucket, name).open("rb")

    def checked(self, bucket: str, name: str, query: Query, method: str = "") -> Resource:
        """An object that exists and meets the conditions of the query."""
        with self.lock:
            found = self.find(bucket, name)
            if found is None or query.get("generation", [found["generation"]]) != [found["generation"]]:
                raise Refused(HTTPStatus.NOT_FOUND, f"No such object: {bucket}/{name}", "notFound")
            check(query, found, method=method)
            return found

    def put(self, content: Content, bucket: str, resource: Resource, query: Query) -> Resource:
        """Make `content` the object, in one step, if the conditions of the query hold."""
        content.flush()
        name = resource["name"]
        with self.lock:
            if bucket not in self.buckets:
                raise Refused(HTTPStatus.NOT_FOUND, f"The specified bucket does not exist: {bucket}", "notFound")
            check(query, self.find(bucket, name))
            generation = self._next_generation()
            resource |= {
                "generation": str(generation),
                "metageneration": "1",
                "id": f"{bucket}/{name}/{generation}",
                "etag": base64.b64encode(str(generation).encode()).decode(),
                "size": str(content.size),
            }
            path = self.path(bucket, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            os.utime(content.path, ns=(generation * 1000, generation * 1000))
            self._note(bucket, name, resource)
            os.replace(content.path, path)
            self.objects.setdefault(bucket, {})[name] = resource
            return resource

    def patch_object(self, bucket_name: str, file_name: str, file_obj: Resource) -> None:
        """Replace what is said of an object."""
        self._note(bucket_name, file_name, file_obj)
        self.objects[bucket_name][file_name] = file_obj

    def delete_file(self, bucket_name: str, file_name: str) -> None:
        """Delete an object for good."""
        with self.lock:
            if self.find(bucket_name, file_name) is None:
                raise NotFound
            self._note(bucket_name, file_name, None)
            del self.objects[bucket_name][file_name]
            self._remove(bucket_name, file_name)

    def path(self, bucket: str, name: str) -> Path:
        """Where an object's content is: under its own name, if that is one that a file can have."""
        parts = name.split("/")
        plain = all(part not in {"", ".", ".."} and len(part.encode()) < 250 for part in parts)
        if not plain or "\0" in name or "\\" in name:
            # No bucket's name begins with an underscore.
            return self.root / "_other" / bucket / hashlib.sha256(name.encode()).hexdigest()
        return self.root.joinpath(bucket, *parts)

    @property
    def root(self) -> Path:
        """The folder of the buckets."""
        return Path(self._data_dir) / ".cloudstorage"

    def _remove(self, bucket: str, name: str) -> None:
        path = self.path(bucket, name)
        path.unlink(missing_ok=True)
        # Folders that are empty now would be in the way of an object of their name.
        for parent in path.parents:
            if parent.parent in {self.root, self.root / "_other"}:
                return
            try:
                parent.rmdir()
            except OSError:
                return

    def _next_generation(self) -> int:
        """Microseconds since 1970, as in the real service; no two are the same."""
        self._generation = max(self._generation + 1, time.time_ns() // 1000)
        return self._generation

    def _note(self, bucket: str, name: str, resource: Resource | None) -> None:
        self._journal.write(_line(bucket, name, resource))

    def _write_config_to_file(self) -> None:
        """Write what is known of buckets, which is little; the package would write all objects too, at every change."""
        known = {"buckets": self.buckets, "bucket_iam_policies": self.bucket_iam_policies}
        _replace(self.root / ".meta", json.dumps(known).encode())

    def _read_config_from_file(self) -> None:
        self.buckets: dict[str, Resource] = {}
        self.bucket_iam_policies: dict[str, Resource] = {}
        self.resumable: dict[str, Resource] = {}
        self.soft_deleted: dict[str, Resource] = {}
        self.objects: dict[str, dict[str, Resource]] = {}
        with suppress(FileNotFoundError):
            known = json.loads((self.root / ".meta").read_bytes())
            self.buckets, self.bucket_iam_policies = known["buckets"], known["bucket_iam_policies"]
        self._replay()

    def _replay(self) -> None:
        """Read the journal and write it anew, without what is over."""
        history: dict[tuple[str, str], list[Resource | None]] = {}
        with suppress(FileNotFoundError), self._journal_path.open("rb") as journal:
            for line in journal:
                with suppress(ValueError):  # a line that SIGKILL cut: its change had not happened yet
                    bucket, name, resource = json.loads(line)
                    history.setdefault((bucket, name), []).append(resource)
        live = []
        for (bucket, name), resources in history.items():
            if (resource := self._true_one(bucket, name, resources)) is not None:
                self.objects.setdefault(bucket, {})[name] = resource
                self._generation = max(self._generation, int(resource["generation"]))
                live.append(_line(bucket, name, resource))
        _replace(self._journal_path, b"".join(live))

    def _true_one(self, bucket: str, name: str, resources: list[Resource | None]) -> Resource | None:
        """The last resource that speaks of the file that is there; None, and no file, if it was deleted."""
        if bucket not in self.buckets or resources[-1] is None:
            self._remove(bucket, name)
            return None
        try:
            generation = self.path(bucket, name).stat().st_mtime_ns // 1000
        except OSError:
            return None
        return next((r for r in reversed(resources) if r and r["generation"] == str(generation)), None)


def _line(bucket: str, name: str, resource: Resource | None) -> bytes:
    return json.dumps([bucket, name, resource]).encode() + b"\n"


def _replace(path: Path, content: bytes) -> None:
    new = path.with_name(f"{path.name}.new")
    new.parent.mkdir(parents=True, exist_ok=True)
    new.write_bytes(content)
    os.replace(new, path)


def check(query: Query, current: Resource | None, prefix: str = "if", method: str = "") -> None:
    """Refuse a request whose preconditions the current object, or its absence, does not meet."""
    for of in ("generation", "metageneration"):
        actual = current[of] if current else "0"
        wanted = query.get(f"{prefix}{of.title()}Match", [actual])
        unwanted = query.get(f"{prefix}{of.title()}NotMatch", [])
        if wanted != [actual]:
            raise Refused(HTTPStatus.PRECONDITION_FAILED, f"{of} is {actual}, not {wanted[0]}", "conditionNotMet")
        if unwanted == [actual]:
            status = HTTPStatus.NOT_MODIFIED if method == "GET" else HTTPStatus.PRECONDITION_FAILED
            raise Refused(status, f"{of} is {actual}", "conditionNotMet")
