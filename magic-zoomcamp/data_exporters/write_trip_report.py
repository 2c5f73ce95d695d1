from nyc_taxi.manifest import Manifest
from nyc_taxi.report.page import check_reports, write_reports
from nyc_taxi.settings import Settings
from pandas import DataFrame

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@data_exporter
def write_trip_report(manifest: DataFrame, *args: object, **kwargs: object) -> DataFrame:
    """Write the month's page and its charts below REPORTS_DIR; return where they are, and the manifest's counts."""
    return write_reports(Manifest.of_frame(manifest), Settings.from_environment())


@test
def the_page_tells_what_the_manifest_counts(written: DataFrame, *args: object) -> None:
    check_reports(written)
