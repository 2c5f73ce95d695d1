import pandas as pd
from nyc_taxi.course.passengers import CLEAN_FILE, read_clean
from nyc_taxi.settings import Settings

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@data_exporter
def export_titanic_clean(df: pd.DataFrame, *args: object, **kwargs: object) -> pd.DataFrame:
    """Write titanic_clean.csv to the staging folder."""
    folder = Settings.from_environment().staging_dir
    folder.mkdir(parents=True, exist_ok=True)
    df.to_csv(folder / CLEAN_FILE, index=False)
    return df


@test
def the_file_holds_every_passenger(df: pd.DataFrame, *args: object) -> None:
    assert len(read_clean(Settings.from_environment().staging_dir)) == len(df) > 0
