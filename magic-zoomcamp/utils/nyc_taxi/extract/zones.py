"""The names of the taxi zones: a list that TLC publishes beside its Parquet files."""

import csv
import hashlib
import json
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from nyc_taxi.catalog.origins import ORIGINS
from nyc_taxi.errors import NotATripFile
from nyc_taxi.extract.http import fetch_if_changed, shown
from nyc_taxi.extract.published import GS
from nyc_taxi.files import replacing, writing_to
from nyc_taxi.settings import Settings

LIST = "taxi_zone_lookup.csv"
COLUMNS = ["LocationID", "Borough", "Zone", "service_zone"]
NO_NAME = ("", "N/A")


class Zone(NamedTuple):
    """One taxi zone; of two pseudo-zones, "unknown" and "outside of the city", one of the names is N/A."""

    borough: str
    zone: str
    service_zone: str = ""
    """Who may pick up there by a sign of the hand: Yellow Zone, Boro Zone, Airports or EWR."""

    @property
    def label(self) -> str:
        """The zone's name, or the borough's where the zone has none."""
        return self.borough if self.zone in NO_NAME else self.zone


def zone_list_url(settings: Settings) -> str:
    """The address of the list: folder `misc` beside the Parquet files' own, or TLC's where those lie in a bucket."""
    base = settings.base_urls["tlc"]
    base = ORIGINS["tlc"].base_url if base.startswith(GS) else base
    return f"{base.rstrip('/').rsplit('/', 1)[0]}/misc/{LIST}"


def taxi_zones(settings: Settings) -> dict[int, Zone]:
    """
    Every taxi zone by its id (PULocationID, DOLocationID); an unchanged list (ETag) is not fetched again.

    Raises NotPublished or DownloadFailed as trip files do, NotATripFile for anything but such a list, StorageFull.
    The list is kept in the staging folder, only once it could be read.
    """
    url, folder = zone_list_url(settings), settings.staging_dir / "tlc"
    with writing_to(folder, LIST):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{LIST}.lock"):
            etag, kept = _kept(folder, url)
            fetched = fetch_if_changed(url, etag, settings.slowest_download)
            content = fetched[0] if fetched else kept
            zones = _parse_zones(content, url)
            if fetched:
                _keep(folder, url, *fetched)
    return zones


def _parse_zones(content: bytes, url: str) -> dict[int, Zone]:
    """The zones by id from the list's bytes; NotATripFile says what else came from the URL."""
    lines = content.decode("utf-8-sig", "replace").splitlines()
    rows = list(csv.reader(lines))
    if not rows or rows[0] != COLUMNS:
        begins = lines[0][:30] if lines else ""
        raise NotATripFile(
            f"{shown(url)} is no list of taxi zones: it starts with {begins!r}, not with {','.join(COLUMNS)}. "
            f"Open the address in a browser; check TLC_PARQUET_BASE_URL"
        )
    zones: dict[int, Zone] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        if len(row) != len(COLUMNS) or not row[0].isdecimal() or int(row[0]) in zones:
            raise NotATripFile(
                f"{shown(url)}, line {number}: {lines[number - 1][:60]!r} is no taxi zone of its own; run again"
            )
        zones[int(row[0])] = Zone(*(value.strip() for value in row[1:]))
    if not zones:
        raise NotATripFile(f"{shown(url)} has no zone: run again later, or check TLC_PARQUET_BASE_URL")
    return zones


def _kept(folder: Path, url: str) -> tuple[str, bytes]:
    """ETag and bytes of the list that is kept; empty when there is none, or not this one."""
    try:
        note, content = json.loads((folder / f"{LIST}.json").read_text()), (folder / LIST).read_bytes()
        same = note["url"] == url and note["sha256"] == hashlib.sha256(content).hexdigest()
        return (note["etag"], content) if same else ("", b"")
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return "", b""


def _keep(folder: Path, url: str, content: bytes, etag: str) -> None:
    """Write the list and, last, the note that names it: a note of other bytes counts for nothing."""
    note = json.dumps({"url": url, "etag": etag, "sha256": hashlib.sha256(content).hexdigest()})
    for path, data in ((folder / LIST, content), (folder / f"{LIST}.json", note.encode())):
        with replacing(path, locked=True) as part:
            part.write_bytes(data)
