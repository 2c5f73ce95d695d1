"""The month by duckdb as CSV to standard output, for psql: `python with_duckdb_csv.py URL`."""

import os
import shutil
import sys
import tempfile
import urllib.request

import duckdb  # type: ignore[import-not-found,unused-ignore]


def main(url: str) -> None:
    """Fetch the Parquet file of a URL and write its rows."""
    folder = os.environ["STAGING_DIR"]
    os.makedirs(folder, exist_ok=True)
    with urllib.request.urlopen(url) as answer, tempfile.NamedTemporaryFile(dir=folder, suffix=".parquet") as file:  # noqa: S310
        shutil.copyfileobj(answer, file)
        file.flush()
        connection = duckdb.connect()
        connection.execute(
            f"COPY (SELECT * FROM read_parquet('{file.name}')) TO '/dev/stdout' (FORMAT csv, HEADER false)"
        )


if __name__ == "__main__":
    main(sys.argv[1])
