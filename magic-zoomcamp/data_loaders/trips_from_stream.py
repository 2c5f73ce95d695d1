from collections.abc import Callable
from typing import Any

from mage_ai.streaming.sources.base_python import BasePythonSource
from nyc_taxi.live.executor import live_run

if "streaming_source" not in globals():
    from mage_ai.data_preparation.decorators import streaming_source


@streaming_source
class TripsFromStream(BasePythonSource):  # type: ignore[misc]  # Mage has no types
    """The messages that are not stored yet, a piece at a time, for ever or until the run's `until_idle`."""

    def __init__(self, global_vars: dict[str, Any] | None = None, **kwargs: Any) -> None:
        self.run = live_run(global_vars or {})
        super().__init__(**kwargs)

    def batch_read(self, handler: Callable[[list[Any]], None]) -> None:
        for piece in self.run.unread():
            handler([piece])
