"""
Why a block failed stands in its log, in a line of level Error.

Fault: Mage writes "Failed to execute block load_api_data" at a level of its own, Exception; the reason is in a field
that one sees after a click on the line. Who asks the log page for level Error finds nothing.

Patch: the level is Error, and the line ends with the kind of the error and its message, without secrets.
"""

import inspect
from types import ModuleType
from typing import Any

UPSTREAM = "none filed"
MODULE = "mage_ai.data_preparation.logging.logger"


def is_needed(logger: ModuleType) -> bool:
    """Whether an exception is logged at a level of its own, without its message."""
    return "'exception', message" in inspect.getsource(logger.DictLogger.exception)


def apply(logger: ModuleType) -> None:
    """Change how an exception is logged."""
    from nyc_taxi.errors import LONGEST_MESSAGE, shortened
    from nyc_taxi.settings import without_secrets

    def exception(log: Any, message: str, *, error: BaseException | None = None, **tags: Any) -> None:
        why = "" if error is None else shortened(without_secrets(f"{type(error).__name__}: {error}"), LONGEST_MESSAGE)
        log.error(f"{message}: {why}" if why else message, error=error, **tags)

    logger.DictLogger.exception = exception
