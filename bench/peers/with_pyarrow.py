"""
The staged month to the bucket by pyarrow alone, timed from after the imports.

`python with_pyarrow.py write_table STAGED OBJECT` or `write_dataset STAGED FOLDER`; the address and the bucket come
from the environment. The last line printed holds the seconds.
`take FOLDER ENDING ...` counts the rows of the Parquet objects of each folder, and removes them.
"""

import json
import os
import sys
import time

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow.fs import FileSelector, FileType, GcsFileSystem


def bucket() -> tuple[GcsFileSystem, str]:
    """The emulator, and the bucket's name with a slash."""
    address = os.environ["STORAGE_EMULATOR_HOST"].removeprefix("http://")
    return GcsFileSystem(anonymous=True, scheme="http", endpoint_override=address), f"{os.environ['GCS_BUCKET']}/"


def objects(folder: str, ending: str) -> tuple[GcsFileSystem, list[str]]:
    """Paths of the objects in a folder."""
    gcs, start = bucket()
    found = gcs.get_file_info(FileSelector(start + folder, recursive=True, allow_not_found=True))
    return gcs, [each.path for each in found if each.type == FileType.File and each.path.endswith(ending)]


def take(folder: str, ending: str) -> int:
    """Rows of the objects, which are gone afterwards."""
    gcs, paths = objects(folder, ending)
    rows = sum(pq.read_metadata(path, filesystem=gcs).num_rows for path in paths)
    for path in paths:
        gcs.delete_file(path)
    return rows


def write(how: str, staged: str, target: str) -> float:
    """Read, filter and write as a user of pyarrow does: the month as one table; the seconds that it took."""
    started = time.perf_counter()
    gcs, start = bucket()
    table = pq.read_table(staged)
    table = table.filter(pc.greater(table["passenger_count"], 0))
    path = start + target
    if how == "write_table":
        pq.write_table(table, path, filesystem=gcs)
    else:
        day = pa.field("tpep_pickup_date", pa.date32())
        ds.write_dataset(
            table.append_column(day, table["tpep_pickup_datetime"].cast(day.type)),
            path,
            filesystem=gcs,
            format="parquet",
            partitioning=ds.partitioning(pa.schema([day]), flavor="hive"),
            create_dir=False,
            existing_data_behavior="overwrite_or_ignore",
        )
    return time.perf_counter() - started


def main(how: str, *arguments: str) -> None:
    """Write, or take, as the arguments say."""
    if how == "take":
        print([take(*place) for place in zip(arguments[::2], arguments[1::2], strict=True)])
    else:
        print(json.dumps({"seconds": write(how, *arguments), "steps": {}}))


if __name__ == "__main__":
    main(*sys.argv[1:])
