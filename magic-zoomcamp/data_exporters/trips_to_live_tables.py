from typing import Any

from mage_ai.streaming.sinks.base_python import BasePythonSink
from nyc_taxi.live.executor import live_run
from nyc_taxi.live.judge import Judged

if "streaming_sink" not in globals():
    from mage_ai.data_preparation.decorators import streaming_sink


@streaming_sink
class TripsToLiveTables(BasePythonSink):  # type: ignore[misc]  # Mage has no types
    """Each piece, and how far the stream is stored with it, in one transaction."""

    def __init__(self, global_vars: dict[str, Any] | None = None, **kwargs: Any) -> None:
        self.store = live_run(global_vars or {}).store()
        super().__init__(**kwargs)

    def batch_write(self, messages: list[Judged]) -> None:
        for judged in messages:
            self.store.write(judged)

    def destroy(self) -> None:
        if hasattr(self, "store"):  # also after a constructor that failed
            self.store.close()
