"""The names of New Relic's agent that Mage uses."""

from collections.abc import Callable
from typing import TypeVar

from newrelic.api.exceptions import ConfigurationError

Function = TypeVar("Function", bound=Callable[..., object])


def background_task(**_: str) -> Callable[[Function], Function]:
    """Mage's mark on a task that New Relic would measure; it changes nothing."""
    return lambda function: function


def initialize(*_: object) -> None:
    """ConfigurationError, upon which Mage goes on without: asked only when ENABLE_NEW_RELIC is set."""
    raise ConfigurationError("New Relic's agent has no package for this system")
