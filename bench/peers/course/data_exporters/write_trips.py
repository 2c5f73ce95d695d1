"""Write the trips to Postgres."""

from os import path

from mage_ai.io.config import ConfigFileLoader
from mage_ai.io.postgres import Postgres
from mage_ai.settings.repo import get_repo_path

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter


@data_exporter
def write_trips(trips, **kwargs) -> None:
    """Replace the table course.trips."""
    config = ConfigFileLoader(path.join(get_repo_path(), "io_config.yaml"), "default")
    with Postgres.with_config(config) as target:
        target.export(trips, "course", "trips", index=False, if_exists="replace")
