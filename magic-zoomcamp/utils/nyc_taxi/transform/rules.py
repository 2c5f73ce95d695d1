"""
Named rules that divide canonical rows into accepted ones and rejected ones with a reason, or only count what is odd.

A rule gives one reason per row, null where the row passes. The rows themselves are split while they stream out to a
target; what a run decides here are the numbers. Both judge the staged rows in their order, and so come to the same.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nyc_taxi.catalog.columns import TEXT, WHOLE
from nyc_taxi.errors import NotATripFile, UnknownName, not_one_of
from nyc_taxi.manifest import Manifest, StagedFile
from nyc_taxi.transform import conditions, twins
from nyc_taxi.transform.rule import REJECT, MonthRule, Reasons, Role, Rule

REJECTED_COLUMNS = {"reason": TEXT, "source_row": WHOLE, "source_text": TEXT}
"""Why a row was rejected and, for one that could not be parsed, its place in the trip file and its text."""

PICKUP, DROPOFF, DISTANCE, FARE = Role.PICKUP, Role.DROPOFF, Role.DISTANCE, Role.FARE
RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule("has_passengers", ("passenger_count",), conditions.no_passengers),
        Rule("positive_distance", ("trip_distance",), conditions.no_distance),
        MonthRule("in_month", (PICKUP,), conditions.outside_month),
        Rule("dropoff_after_pickup", (PICKUP, DROPOFF), conditions.no_duration),
        Rule("plausible_speed", (PICKUP, DROPOFF, DISTANCE), conditions.too_fast, {"max_mph": 100.0}),
        Rule("plausible_fare", (FARE,), conditions.odd_fare, {"min_usd": 0.0, "max_usd": 1_000.0}),
        Rule("known_zones", ("PULocationID", "DOLocationID"), conditions.unknown_zone),
        MonthRule("not_a_duplicate", (PICKUP,), twins.duplicate),
        MonthRule("no_reversal", (FARE,), twins.reversal),
    )
}


def rule_named(text: str) -> Rule:
    """The rule that a run asks for, as `plausible_speed:warn:max_mph=60`; UnknownName says which there are."""
    name, *options = text.split(":")
    if name not in RULES:
        raise UnknownName(not_one_of("rule", name, RULES, " (or none)"))
    return RULES[name].asked(options)


def judged(file: StagedFile, columns: Sequence[str] | None = None) -> Iterator[tuple[pa.RecordBatch, Reasons | None]]:
    """
    Stream the staged rows, with one reason per row for those that the file's rules reject; None without such rules.

    Of the columns, all unless some are named, and those that the rules look at. The first rule that is broken names
    the reason.
    """
    rules = [rule for rule in map(rule_named, file.rules) if rule.action == REJECT]
    judges = [rule.judge(file) for rule in rules]
    place = 0
    for rows in file.batches(None if columns is None else _with_columns_of(rules, file, columns)):
        found = [judge(rows, place) for judge in judges]
        yield rows, pc.coalesce(*found) if found else None
        place += len(rows)


def passing(rows: pa.RecordBatch, why: Reasons | None) -> pa.RecordBatch:
    """The rows without a reason."""
    return rows if why is None or why.null_count == len(why) else rows.filter(pc.is_null(why))


def split(rows: pa.RecordBatch, why: Reasons | None) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Accepted rows, and rejected rows with a last column `reason`."""
    if why is None or why.null_count == len(why):
        why = pa.nulls(len(rows), pa.string()) if why is None else why
        return rows, rows.slice(0, 0).append_column("reason", why.slice(0, 0))
    return passing(rows, why), rows.append_column("reason", why).filter(pc.is_valid(why))


def accepted(file: StagedFile) -> Iterator[pa.RecordBatch]:
    """Stream the rows that pass the file's rules."""
    return (passed for rows, why in judged(file) if len(passed := passing(rows, why)))


def malformed(file: StagedFile) -> list[pa.RecordBatch]:
    """The rows that could not be parsed, in the columns of REJECTED_COLUMNS."""
    if not file.malformed_path:
        return []
    with file.reading():
        table = pq.read_table(file.malformed_path).rename_columns(["source_row", "source_text", "reason"])
    return table.to_batches()  # type: ignore[no-any-return]


@dataclass
class Outcome:
    """What the rules make of the rows of a file."""

    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    """Rows by the reason of the first rule that they break."""
    warned: Counter[str] = field(default_factory=Counter)
    """Accepted rows by reason, of each rule that only warns."""
    sums: dict[str, float] = field(default_factory=dict)
    """Of each measure of the service over the accepted rows, in its own unit."""


def count(file: StagedFile) -> Outcome:
    """Judge every staged row by the file's rules; reads only the columns that the rules and the sums need."""
    warnings = [rule for rule in map(rule_named, file.rules) if rule.action != REJECT]
    judges = [rule.judge(file) for rule in warnings]
    outcome, place = Outcome(sums=dict.fromkeys(file.service.measures, 0.0)), 0
    for rows, why in judged(file, _with_columns_of(warnings, file, file.service.measures)):
        kept = passing(rows, why)
        outcome.accepted += len(kept)
        if why is not None and len(kept) < len(rows):
            outcome.rejected += _by_reason(why)
        for judge in judges:
            odd = judge(rows, place)
            outcome.warned += _by_reason(odd if why is None else pc.if_else(pc.is_null(why), odd, None))
        for name in outcome.sums:
            outcome.sums[name] += float(pc.sum(kept[name]).as_py() or 0)
        place += len(rows)
    return outcome


def apply_rules(manifest: Manifest, rules: Sequence[str]) -> Manifest:
    """
    The manifest with the rules' outcome: rows accepted, rejected and warned of by reason, sums over the accepted rows.

    Raises CountsDisagree unless every row is accounted for, NotATripFile when a file lacks a column that a rule or a
    sum needs, or no row passes.
    """
    asked = tuple(str(rule_named(text)) for text in rules)
    return Manifest(tuple(_counted(replace(file, rules=asked)) for file in manifest.files))


def _by_reason(why: Reasons) -> Counter[str]:
    return Counter({each["values"]: each["counts"] for each in pc.value_counts(why.drop_null()).to_pylist()})


def _with_columns_of(rules: Iterable[Rule], file: StagedFile, columns: Sequence[str]) -> list[str]:
    return list(dict.fromkeys([name for rule in rules for name in rule.columns_in(file.service)] + list(columns)))


def _refuse_without_columns(file: StagedFile) -> None:
    """A rule or a sum over a column that the file lacks would judge nulls."""
    absent = file.service.absent.get(file.origin, ())
    rules = [(rule.name, rule.columns_in(file.service)) for rule in map(rule_named, file.rules)]
    for name in file.columns_missing:
        by = [rule for rule, columns in rules if name in columns]
        if by:
            raise NotATripFile(f"{file.url} has no column {name}, which the rule {by[0]} needs: set rules to none")
        if name in file.service.measures and name not in absent:
            raise NotATripFile(
                f"{file.url} has no column {name}, whose sum is checked for {file.service_name}: is it another "
                f"service's file? Nothing was loaded"
            )


def _counted(file: StagedFile) -> StagedFile:
    _refuse_without_columns(file)
    outcome = count(file)
    counted = replace(
        file,
        rows_accepted=outcome.accepted,
        rejected={**outcome.rejected, **file.malformed},
        sums=outcome.sums,
        warned=dict(outcome.warned),
    )
    counted.check_conservation()
    if not counted.rows_accepted:
        raise NotATripFile(
            f"{file.url}: no row of {file.rows_read:,} passes {', '.join(file.rules)}: check the rules; "
            f"nothing was loaded"
        )
    for what, found in (("rejected", counted.rejected), ("accepted with a warning", counted.warned)):
        for reason, rows in found.items():
            said = f"{rows:,} of {file.rows_read:,} rows {what}: {reason}"
            print(f"{file.service_name} {file.month}: {said}", flush=True)
    return counted
