"""
The variables of one run, as Mage hands them to a block.

A block passes its keyword arguments to `run_context` and hands the result to one library function.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from nyc_taxi.catalog.origins import ORIGINS, Origin, origin_named
from nyc_taxi.catalog.services import Service, service_named
from nyc_taxi.errors import UnknownName
from nyc_taxi.months import Month
from nyc_taxi.settings import SWITCH, Settings
from nyc_taxi.transform.rule import Rule
from nyc_taxi.transform.rules import rule_named

LONGEST_WAIT_HOURS = 24 * 366
MALFORMED_SHARE = 0.01
"""Of a file's rows, how many may be malformed unless the run says otherwise."""


@dataclass(frozen=True)
class RunContext:
    """One run: which trip file, which rules, where to."""

    service: Service
    month: Month
    origin: Origin
    rules: tuple[str, ...]
    settings: Settings
    malformed_share: float = MALFORMED_SHARE
    """From 0 to 1: a trip file with a larger share of malformed rows is refused."""

    def __str__(self) -> str:
        """Service, month and origin, for messages."""
        return f"{self.service.name} {self.month} ({self.origin.name})"


def run_context(variables: Mapping[str, object], settings: Settings | None = None) -> RunContext:
    """
    Make the context from a block's keyword arguments, that is from Mage's runtime variables.

    Reads service, month, month_offset, execution_date, default_date, origin, rules and malformed_share, and refuses
    what does not exist with UnknownName before anything is fetched. Without a month, it is that of execution_date
    moved by month_offset: Mage gives execution_date as a datetime with or without a zone, as text, or not at all.
    default_date takes its place in a run by hand, so that a block can be tried in the editor; a trigger or a backfill
    never sees it. By hand and without default_date, the month is at most the newest that the origin surely has.
    """
    service, month = service_and_month(variables)
    origin = origin_named(text_of(variables.get("origin"), "dtc"))
    _refuse_unpublishable(service, month, origin)
    return RunContext(
        service,
        month,
        origin,
        _rules(variables.get("rules"), service),
        settings or Settings.from_environment(),
        _malformed_share(variables),
    )


def service_and_month(variables: Mapping[str, object]) -> tuple[Service, Month]:
    """The service and month of a run that needs no origin: its trips are in the lake. UnknownName as in run_context."""
    return service_named(text_of(variables.get("service"), "yellow")), _month(variables)


def scheduled_month(variables: Mapping[str, object]) -> Month | None:
    """The variable month, else that of a trigger's execution_date moved by month_offset; None in a run by hand."""
    if not text_of(variables.get("month")) and not text_of(variables.get("pipeline_run_id")):
        return None
    return _month({**variables, "day": "", "default_date": ""})


def execution_day(variables: Mapping[str, object]) -> date:
    """The day of the run: the variable day, else the execution_date; UnknownName when the run has neither."""
    when = _execution_date(variables)
    if when is None:
        raise UnknownName("no execution_date: give it as YYYY-MM-DD, or run by a trigger or a backfill")
    month = _surely_there(Month.of(when), when, variables)
    return date(when.year, when.month, when.day) if Month.of(when) == month else month.first_day


def longest_wait(variables: Mapping[str, object]) -> timedelta:
    """
    How long a sensor of the run waits: the variable wait_hours, none when it is empty.

    UnknownName for what is no number of hours from 0 to a year.
    """
    hours = _number(
        variables,
        "wait_hours",
        0,
        LONGEST_WAIT_HOURS,
        f"a number of hours from 0 to {LONGEST_WAIT_HOURS:,}, such as 480",
    )
    return timedelta(hours=hours)


def is_forced(variables: Mapping[str, object]) -> bool:
    """Whether the run loads its month even if nothing is new: the variable force; UnknownName unless true or false."""
    text = text_of(variables.get("force"), "false")
    if text.lower() not in SWITCH:
        raise UnknownName(f"force {text!r} is neither true nor false")
    return SWITCH[text.lower()]


def text_of(value: object, default: str = "") -> str:
    """A variable as text without blanks around it; the default where it is missing or empty."""
    return str(value).strip() if value is not None and str(value).strip() else default


def names_of(value: object) -> list[str]:
    """The names in a variable: a list, or text with commas."""
    listed = value if isinstance(value, Iterable) and not isinstance(value, str) else text_of(value).split(",")
    return [text_of(name) for name in listed if text_of(name)]


def month_in(variables: Mapping[str, object], name: str) -> Month | None:
    """The month that a variable names; None where it is empty, UnknownName for what is no month."""
    text = text_of(variables.get(name))
    try:
        return Month.parse(text) if text else None
    except ValueError as error:
        raise UnknownName(str(error) if name == "month" else f"{name}: {error}") from None


def _malformed_share(variables: Mapping[str, object]) -> float:
    return _number(variables, "malformed_share", MALFORMED_SHARE, 1, "a share from 0 to 1, such as 0.05")


def _number(variables: Mapping[str, object], name: str, default: float, most: float, what: str) -> float:
    """A variable as a number from 0 to the most; UnknownName says what it should be."""
    text = text_of(variables.get(name), str(default))
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number <= most:
        raise UnknownName(f"{name} {text!r} is not {what}")
    return number


def _month(variables: Mapping[str, object]) -> Month:
    month = month_in(variables, "month")
    if month:
        return month
    when, offset = _execution_date(variables), text_of(variables.get("month_offset"), "0")
    if when is None:
        raise UnknownName("no month: give the variable month (YYYY-MM), or run with an execution_date")
    try:
        month = Month.of(when).shift(int(offset))
    except ValueError:
        raise UnknownName(f"month_offset {offset!r} is not a whole number of months such as -2") from None
    return _surely_there(month, when, variables)


def _execution_date(variables: Mapping[str, object]) -> date | None:
    name, when = "execution_date", variables.get("execution_date")
    if text_of(variables.get("day")):
        # A person asks for a day in a form; Mage gives such a run this very moment as its execution_date.
        name, when = "day", variables["day"]
    elif _is_by_hand(variables) and text_of(variables.get("default_date")):
        name, when = "default_date", variables["default_date"]
    if isinstance(when, str) and when.strip():
        try:
            return datetime.fromisoformat(when.strip())
        except ValueError:
            raise UnknownName(f"{name} {when!r} is not a date such as 2021-01-31T00:00:00") from None
    return when if isinstance(when, date) else None


def _is_by_hand(variables: Mapping[str, object]) -> bool:
    """Whether nobody has said when the run is: a scheduled one has a pipeline_run_id, and by hand it is this moment."""
    when = variables.get("execution_date")
    return not text_of(variables.get("pipeline_run_id")) and not (isinstance(when, str) and when.strip())


def _surely_there(month: Month, when: date, variables: Mapping[str, object]) -> Month:
    """The month, or the newest that the origin surely has where a run by hand would ask for a later one."""
    if text_of(variables.get("day")) or text_of(variables.get("default_date")) or not _is_by_hand(variables):
        return month
    return min(month, origin_named(text_of(variables.get("origin"), "dtc")).newest(when))


def _refuse_unpublishable(service: Service, month: Month, origin: Origin) -> None:
    first, last = origin.first.get(service.name), origin.last
    if first is None:
        others = [other.name for other in ORIGINS.values() if service.name in other.first]
        raise UnknownName(
            f"origin {origin.name} has no {service.name}, but {', '.join(others) or 'no other'} has: set it"
        )
    if not origin.may_have(service, month):
        others = [other.name for other in ORIGINS.values() if other is not origin and other.may_have(service, month)]
        raise UnknownName(
            f"{service.name} {month} does not exist at origin {origin.name}, which has {first} to "
            f"{last or f'about {origin.lateness} ago'}: choose another month"
            + (f", or origin {', '.join(others)}" if others else "")
        )


def rules_named(value: object) -> list[Rule] | None:
    """The rules of a list or of text with commas: None where it is empty, no rule for 'none'; UnknownName."""
    names = names_of(value)
    if "none" in names and set(names) != {"none"}:
        raise UnknownName(f"rules {', '.join(names)}: none stands alone, or the others without it")
    rules = [rule_named(name) for name in dict.fromkeys(names) if name != "none"]
    for (name, action), times in Counter((rule.name, rule.action) for rule in rules).items():
        if times > 1:
            raise UnknownName(f"rules {', '.join(names)}: {name} can {action} by one set of parameters only")
    return rules if names else None


def _rules(value: object, service: Service) -> tuple[str, ...]:
    """The rules of a run, with all that they depend on: the service's own where the variable is empty."""
    rules = rules_named(value)
    rules = [rule_named(text) for text in service.rules] if rules is None else rules
    for rule in rules:
        rule.columns_in(service)
    return tuple(map(str, rules))
