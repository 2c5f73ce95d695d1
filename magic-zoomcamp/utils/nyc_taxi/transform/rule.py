"""
What a rule is: a named condition on the values of some columns, what becomes of a row that breaks it, its parameters.

A run asks for rules as text: `plausible_speed:warn:max_mph=60` is the name, then in any order what is to become of
the rows and the parameters. It needs no quotes in a shell, in YAML or in a form.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import isfinite
from typing import TypeAlias

import pyarrow as pa

from nyc_taxi.catalog.services import Service
from nyc_taxi.errors import UnknownName
from nyc_taxi.manifest import StagedFile

Reasons: TypeAlias = pa.StringArray
Judge: TypeAlias = Callable[[pa.RecordBatch, int], Reasons]
"""From rows, and the place of the first of them in the staged file, to one reason per row, null where it passes."""

REJECT, WARN = "reject", "warn"
"""A rejected row is kept apart with its reason; one that is warned of is loaded, and counted."""


class Role(StrEnum):
    """A column by what it is, whatever its service calls it."""

    PICKUP = "pickup"
    DROPOFF = "dropoff"
    DISTANCE = "distance"
    """In miles."""
    FARE = "fare"
    """In USD."""


@dataclass(frozen=True)
class Rule:
    """A named condition on a row."""

    name: str
    columns: tuple[str | Role, ...]
    """What it looks at; a service or a file without one of them refuses the rule."""
    reasons: Callable[..., Reasons]
    """From the values of its columns, and its parameters by name, to one reason per row, null where it passes."""
    parameters: Mapping[str, float] = field(default_factory=dict)
    """Numbers by name: in RULES the defaults, in a run what it asks for."""
    action: str = REJECT

    def __str__(self) -> str:
        """As a run may ask for it, with all that it depends on."""
        action = [WARN] if self.action == WARN else []
        return ":".join([self.name, *action, *(f"{name}={_digits(n)}" for name, n in self.parameters.items())])

    def asked(self, options: list[str]) -> "Rule":
        """The rule with the options that follow its name; UnknownName says which there are."""
        action, parameters = [], {}
        for option in options:
            name, is_parameter, value = option.partition("=")
            if option in (REJECT, WARN):
                action.append(option)
            elif is_parameter and name in self.parameters and name not in parameters and _is_number(value, name):
                parameters[name] = float(value)
            else:
                raise self._refused(option)
        if len(action) > 1:
            raise self._refused(":".join(action))
        asked = {**self.parameters, **parameters}
        if any(asked.get(name.replace("min_", "max_", 1), most) < most for name, most in asked.items()):
            raise UnknownName(f"rule {self.name}: no row passes {':'.join(options)}, whose least is above its most")
        return replace(self, action=action[0] if action else REJECT, parameters=asked)

    def _refused(self, option: str) -> UnknownName:
        known = (REJECT, WARN, *(f"{name}={_digits(default)}" for name, default in self.parameters.items()))
        numbers = ", with any number" if self.parameters else ""
        return UnknownName(f"rule {self.name}: {option!r} is not one of {', '.join(known)}, each at most once{numbers}")

    def columns_in(self, service: Service) -> list[str]:
        """Its columns as the service calls them; UnknownName for one that the service does not have."""
        return [self._column_in(service, column) for column in self.columns]

    def _column_in(self, service: Service, column: str | Role) -> str:
        name = getattr(service, column) if isinstance(column, Role) else column
        if name not in service.schema.names:
            what = f"the {column}" if isinstance(column, Role) else column
            raise UnknownName(f"rule {self.name!r} looks at {what}, which {service.name} does not have")
        return str(name)

    def judge(self, file: StagedFile) -> Judge:
        """What judges the file's rows, in their order."""
        columns = self.columns_in(file.service)
        return lambda rows, _: self.reasons(*(rows[name] for name in columns), **self.parameters)


@dataclass(frozen=True)
class MonthRule(Rule):
    """A rule that knows the month, or all of its rows: `reasons` takes the file, and gives what judges its rows."""

    def judge(self, file: StagedFile) -> Judge:
        """What judges the file's rows, in their order; the same for the same file, however often it is asked for."""
        judge: Judge = self.reasons(file, *self.columns_in(file.service), **self.parameters)
        return judge


def _is_number(text: str, name: str) -> bool:
    """Whether it is one that the parameter can have: the most of something is not below 0."""
    try:
        return isfinite(float(text)) and (float(text) >= 0 or name.startswith("min_"))
    except ValueError:
        return False


def _digits(number: float) -> str:
    """The shortest text of a number, without an empty fraction."""
    return repr(number).removesuffix(".0")
