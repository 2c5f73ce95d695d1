"""
Named rules that divide canonical rows into accepted ones and rejected ones with a reason.

A rule is a function from a batch to one reason per row, null where the row passes. The rows themselves are
split while they stream out to a target; what a run decides here are the numbers.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nyc_taxi.catalog.columns import TEXT, WHOLE
from nyc_taxi.errors import NotATripFile, UnknownName, not_one_of
from nyc_taxi.manifest import Manifest, StagedFile

Reasons: TypeAlias = pa.StringArray

REJECTED_COLUMNS = {"reason": TEXT, "source_row": WHOLE, "source_text": TEXT}
"""Why a row was rejected and, for one that could not be parsed, its place in the trip file and its text."""


@dataclass(frozen=True)
class Rule:
    """A named condition on a row."""

    name: str
    column: str
    reasons: Callable[[pa.Array], Reasons]
    """From the column's values to one reason per row, null where the row passes."""


def _no_passengers(count: pa.Array) -> Reasons:
    empty = pc.if_else(pc.greater(count, 0), pa.scalar(None, pa.string()), "no_passengers")
    return pc.if_else(pc.is_null(count), "passenger_count_missing", empty)


def _no_distance(miles: pa.Array) -> Reasons:
    return pc.if_else(pc.fill_null(pc.greater(miles, 0), False), pa.scalar(None, pa.string()), "no_distance")


RULES = {
    rule.name: rule
    for rule in (
        Rule("has_passengers", "passenger_count", _no_passengers),
        Rule("positive_distance", "trip_distance", _no_distance),
    )
}


def rule_named(name: str) -> Rule:
    """The rule of that name; UnknownName says which there are."""
    if name not in RULES:
        raise UnknownName(not_one_of("rule", name, RULES, " (or none)"))
    return RULES[name]


def columns_of(rules: Sequence[str]) -> list[str]:
    """The canonical columns that the rules look at."""
    return [rule_named(name).column for name in rules]


def reasons_to_reject(batch: pa.RecordBatch, rules: Sequence[str]) -> Reasons | None:
    """One reason per row, null where every rule passes; None without rules. The first failing rule names it."""
    found = [rule.reasons(batch[rule.column]) for rule in map(rule_named, rules)]
    return pc.coalesce(*found) if found else None


def split_by_rules(batch: pa.RecordBatch, rules: Sequence[str]) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Accepted rows, and rejected rows with a last column `reason`."""
    why = reasons_to_reject(batch, rules)
    if why is None or why.null_count == len(why):
        why = pa.nulls(len(batch), pa.string()) if why is None else why
        return batch, batch.slice(0, 0).append_column("reason", why.slice(0, 0))
    passes = pc.is_null(why)
    return batch.filter(passes), batch.append_column("reason", why).filter(pc.invert(passes))


def accepted(file: StagedFile) -> Iterator[pa.RecordBatch]:
    """Stream the rows that pass the file's rules."""
    return (passed for batch in file.batches() if len(passed := split_by_rules(batch, file.rules)[0]))


def malformed(file: StagedFile) -> list[pa.RecordBatch]:
    """The rows that could not be parsed, in the columns of REJECTED_COLUMNS."""
    if not file.malformed_path:
        return []
    with file.reading():
        table = pq.read_table(file.malformed_path).rename_columns(["source_row", "source_text", "reason"])
    return table.to_batches()  # type: ignore[no-any-return]


def count_by_rules(
    batches: Iterable[pa.RecordBatch], rules: Sequence[str], measures: Sequence[str]
) -> tuple[int, Counter[str], dict[str, float]]:
    """
    Rows accepted, rows rejected by reason, and the sum of each measure over the accepted rows.

    Args:
        batches: canonical batches that hold at least the rules' columns and the measures.
        rules: names of rules.
        measures: numeric columns to sum, in their own units.
    """
    accepted, rejected = 0, Counter[str]()
    sums = dict.fromkeys(measures, 0.0)
    for batch in batches:
        why = reasons_to_reject(batch, rules)
        kept = batch if why is None or why.null_count == len(why) else batch.filter(pc.is_null(why))
        accepted += len(kept)
        if why is not None and len(kept) < len(batch):
            rejected.update({item["values"]: item["counts"] for item in pc.value_counts(why.drop_null()).to_pylist()})
        for name in measures:
            sums[name] += float(pc.sum(kept[name]).as_py() or 0)
    return accepted, rejected, sums


def apply_rules(manifest: Manifest, rules: Sequence[str]) -> Manifest:
    """
    The manifest with the rules' outcome: rows accepted, rows rejected by reason, sums over the accepted rows.

    Reads only the columns that the rules and the sums need. Raises CountsDisagree unless every row is accounted for,
    NotATripFile when a file lacks a column that a rule or a sum needs, or no row passes.
    """
    return Manifest(tuple(_judged(file, tuple(rules)) for file in manifest.files))


def _refuse_without_columns(file: StagedFile, rules: Sequence[str]) -> None:
    """A rule or a sum over a column that the file lacks would judge nulls."""
    absent = file.service.absent.get(file.origin, ())
    for name in file.columns_missing:
        by = [rule for rule in rules if rule_named(rule).column == name]
        if by:
            raise NotATripFile(f"{file.url} has no column {name}, which the rule {by[0]} needs: set rules to none")
        if name in file.service.measures and name not in absent:
            raise NotATripFile(
                f"{file.url} has no column {name}, whose sum is checked for {file.service_name}: is it another "
                f"service's file? Nothing was loaded"
            )


def _judged(file: StagedFile, rules: tuple[str, ...]) -> StagedFile:
    _refuse_without_columns(file, rules)
    measures = file.service.measures
    needed = list(dict.fromkeys([*columns_of(rules), *measures]))
    accepted, rejected, sums = count_by_rules(file.batches(needed), rules, measures)
    judged = replace(file, rules=rules, rows_accepted=accepted, rejected={**rejected, **file.malformed}, sums=sums)
    judged.check_conservation()
    if not accepted:
        raise NotATripFile(
            f"{file.url}: no row of {file.rows_read:,} passes {', '.join(rules)}: check the rules; nothing was loaded"
        )
    for reason, rows in judged.rejected.items():
        print(f"{file.service_name} {file.month}: {rows:,} of {file.rows_read:,} rows rejected: {reason}", flush=True)
    return judged
