from typing import Any

from nyc_taxi.live.executor import live_run
from nyc_taxi.live.judge import Judged
from nyc_taxi.live.reader import Piece

if "transformer" not in globals():
    from mage_ai.data_preparation.decorators import transformer


@transformer
def judge_trips(pieces: list[Piece], *args: object, **kwargs: Any) -> list[Judged]:
    """Each piece as accepted trips, rejected trips with their reasons, and messages that are no trips."""
    run = live_run(kwargs)
    return [run.judged(piece) for piece in pieces]
