from nyc_taxi.load.bucket.slice import slice_object, write_slice
from nyc_taxi.manifest import Manifest
from nyc_taxi.report.preview import show_object
from nyc_taxi.run import execution_day
from nyc_taxi.settings import Settings
from pandas import DataFrame

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@data_exporter
def daily_trips_to_gcs(manifest: DataFrame, *args: object, **kwargs: object) -> DataFrame:
    """Write the trips picked up on the execution date to YYYY/MM/DD/daily-trips.parquet; return how many."""
    google, day = Settings.from_environment().google, execution_day(kwargs)
    [file] = Manifest.of_frame(manifest).files
    prefix = str(kwargs.get("prefix") or "")
    rows = write_slice(file, day, google, prefix)
    show_object(f"gs://{google.bucket}/{slice_object(day, prefix)}", rows)
    return DataFrame({"service": [file.service_name], "day": [day.isoformat()], "rows": [rows]})


@test
def the_day_has_trips(written: DataFrame, *args: object) -> None:
    assert written["rows"].min() > 0
