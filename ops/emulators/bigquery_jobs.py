"""What the BigQuery emulator still knows of its jobs after it was killed, since clients ask again: as the real one."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Generic, TypeVar

import duckdb
import pyarrow as pa
from bqemulator.api.routes import jobs
from bqemulator.catalog.duckdb_repository import DuckDBCatalogRepository
from bqemulator.catalog.models import JobMeta
from bqemulator.domain.errors import AlreadyExistsError
from bqemulator.jobs import executor

T = TypeVar("T")
KEPT = 1_000
"""Of how many queries the rows can still be asked for; the real service keeps them for a day."""


class Answers(Generic[T]):
    """What the newest queries answered, by job, as files; the package keeps it in memory, for good."""

    def __init__(self, folder: Path, write: Callable[[Path, T], object], read: Callable[[Path], T]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._write, self._read = folder, write, read
        oldest_first = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)
        self._paths = dict.fromkeys(oldest_first)

    def __setitem__(self, job: str, answer: T) -> None:
        path = self._path(job)
        new = path.with_suffix(".new")  # never over the old one: the answer may be made of it
        self._write(new, answer)
        new.replace(path)
        self._paths.pop(path, None)
        self._paths[path] = None
        while len(self._paths) > KEPT:
            oldest = next(iter(self._paths))
            self._paths.pop(oldest)
            oldest.unlink(missing_ok=True)

    def __getitem__(self, job: str) -> T:
        try:
            return self._read(self._path(job))
        except FileNotFoundError:
            raise KeyError(job) from None

    def get(self, job: str, default: T | None = None) -> T | None:
        """As of a dict."""
        try:
            return self[job]
        except KeyError:
            return default

    def pop(self, job: str, default: T | None = None) -> T | None:
        """As of a dict."""
        answer = self.get(job, default)
        self._paths.pop(self._path(job), None)
        self._path(job).unlink(missing_ok=True)
        return answer

    def _path(self, job: str) -> Path:
        """A job's name is the client's: it may be longer than a file's."""
        return self._folder / sha256(job.encode()).hexdigest()


def _write_rows(path: Path, rows: pa.Table) -> None:
    with pa.ipc.new_file(path, rows.schema) as file:
        file.write_table(rows)


def _read_rows(path: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def keep_answers(data: Path) -> None:
    """Have the package keep the rows of its queries, and their columns, in files."""
    rows = Answers(data / "answers" / "rows", _write_rows, _read_rows)
    columns: Answers[list[dict[str, Any]]] = Answers(
        data / "answers" / "columns",
        lambda path, fields: path.write_text(json.dumps(fields)),
        lambda path: json.loads(path.read_text()),
    )
    executor.JOB_RESULTS = jobs.JOB_RESULTS = rows
    executor.JOB_SCHEMAS = jobs.JOB_SCHEMAS = columns


def refuse_repeated(job: str, project: str, context: Any) -> None:
    """A job's name can be used once: a client that sends a request again must not load twice."""
    if context.catalog.get_job(project, job) is not None:
        raise AlreadyExistsError(f"Already Exists: Job {project}:US.{job}")


def note(job: JobMeta, session: duckdb.DuckDBPyConnection) -> None:
    """Note a job in the transaction that does its work: a client asks again for one whose answer was lost."""
    DuckDBCatalogRepository._write_job(SimpleNamespace(_engine=session), job)
