"""The reference tables, fetched or made, as files in the staging folder that every target loads."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nyc_taxi.catalog.references import REFERENCES, ZONES, Reference, StagedReference
from nyc_taxi.errors import NotATripFile
from nyc_taxi.extract.http import shown
from nyc_taxi.extract.zones import taxi_zones, zone_list_url
from nyc_taxi.files import replacing, writing_to
from nyc_taxi.settings import Settings

DICTIONARIES = "https://www.nyc.gov/site/tlc/about/tlc-trip-record-data.page"
LAST_ZONE = 265
"""Of the list as it has been since 2017; a longer one may come, a shorter one lacks zones."""


def stage_references(settings: Settings) -> list[StagedReference]:
    """
    Write every reference table as a Parquet file; an unchanged list of zones is not fetched again.

    Raises what `taxi_zones` raises, and NotATripFile for a list of zones that lacks some.
    """
    folder = settings.staging_dir / "reference"
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        return [_stage(reference, settings, folder) for reference in REFERENCES.values()]


def _stage(reference: Reference, settings: Settings, folder: Path) -> StagedReference:
    is_fetched = reference is ZONES
    table = _zones(settings) if is_fetched else reference.table()
    path = folder / f"{reference.name}.parquet"
    with replacing(path, locked=False) as part:
        pq.write_table(table, part)
        sha256 = hashlib.sha256(part.read_bytes()).hexdigest()
    url = shown(zone_list_url(settings)) if is_fetched else DICTIONARIES
    return StagedReference(reference.name, str(path), url, len(table), sha256)


def _zones(settings: Settings) -> pa.Table:
    zones = taxi_zones(settings)
    if missing := sorted({*range(1, max(LAST_ZONE, *zones) + 1)} - zones.keys()):
        raise NotATripFile(
            f"{shown(zone_list_url(settings))} lacks zone {missing[0]}"
            f"{f' and {len(missing) - 1} more' if missing[1:] else ''}: no target was changed; run again later"
        )
    rows = [(number, *zone) for number, zone in sorted(zones.items())]
    return pa.table([*map(pa.array, zip(*rows, strict=True))], names=ZONES.schema.names).cast(ZONES.schema)
