from nyc_taxi.operate import retention
from nyc_taxi.settings import Settings
from pandas import DataFrame

if "custom" not in globals():
    from mage_ai.data_preparation.decorators import custom
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@custom
def remove_staged_files(*args: object, **kwargs: object) -> DataFrame:
    """Remove staged trip files that no run has asked for in keep_days, and what is more than keep_gb."""
    settings = Settings.from_environment()
    most = retention.most_staged(kwargs, settings)
    return retention.remove_staged_files(settings.staging_dir, retention.cutoff(kwargs), most).to_frame()


@test
def no_more_went_than_was_there(cleaned: DataFrame, *args: object) -> None:
    assert cleaned[["remain", "bytes_remain"]].ge(0).all(axis=None), cleaned.to_string()
