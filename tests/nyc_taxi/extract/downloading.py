"""What tests of downloads share: a run against one address, and its download."""

from dataclasses import replace
from pathlib import Path

from nyc_taxi.extract.download import Downloaded, download
from nyc_taxi.extract.published import find_published
from nyc_taxi.run import RunContext, run_context
from nyc_taxi.settings import Settings

ETAG = {"ETag": '"one"'}
NAME = {"dtc": "/yellow/yellow_tripdata_2021-01.csv.gz", "tlc": "/yellow_tripdata_2021-01.parquet"}


def run_at(url: str, origin: str = "dtc", month: str = "2021-01") -> RunContext:
    """A run of yellow against one address for both origins."""
    settings = replace(Settings.from_environment({}), base_urls={"dtc": url, "tlc": url})
    return run_context({"service": "yellow", "month": month, "origin": origin}, settings)


def fetch(run: RunContext, folder: Path) -> Downloaded:
    return download(run, find_published(run), folder)


def left_over(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
