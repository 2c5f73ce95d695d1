"""The month by duckdb: read_csv on the unpacked stream of the file, written by its postgres extension."""

import os
import shutil
import sys
import tempfile
import urllib.request

import duckdb  # type: ignore[import-not-found,unused-ignore]


def main(argument: str) -> None:
    """Load the file at a URL; with --install, only fetch the extension."""
    connection = duckdb.connect()
    try:
        connection.execute("INSTALL postgres; LOAD postgres")
    except duckdb.Error as error:
        sys.exit(f"duckdb's postgres extension cannot be downloaded ({type(error).__name__})")
    if argument == "--install":
        return
    folder = os.environ["STAGING_DIR"]
    os.makedirs(folder, exist_ok=True)
    # The httpfs extension would be one more download; the address is that of the benchmark's own server.
    with urllib.request.urlopen(argument) as answer, tempfile.NamedTemporaryFile(dir=folder, suffix=".csv.gz") as file:  # noqa: S310
        shutil.copyfileobj(answer, file)
        file.flush()
        connection.execute("ATTACH '' AS target (TYPE postgres)")  # libpq reads PGHOST and its like
        connection.execute(
            f"CREATE TABLE target.duck.trips AS SELECT * FROM read_csv('{file.name}') WHERE passenger_count > 0"
        )


if __name__ == "__main__":
    main(sys.argv[1])
