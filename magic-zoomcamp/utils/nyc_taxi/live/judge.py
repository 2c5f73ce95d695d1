"""From messages to rows: the batch pipelines' rules say which are accepted; what is no trip is kept as it came."""

import io
import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from nyc_taxi.catalog.columns import TEXT, WHOLE
from nyc_taxi.catalog.services import Service
from nyc_taxi.errors import LONGEST_NAME, UnknownName, shortened
from nyc_taxi.live.reader import Piece
from nyc_taxi.transform.rule import REJECT, MonthRule, Rule
from nyc_taxi.transform.rules import rule_named, split

FILE_MONTH, MESSAGE, REASON, BODY = "file_month", "message", "reason", "body"
"""The month whose file a trip is from, null for one of another producer; a message's number in the stream."""
NOT_TRIPS = pa.schema([(MESSAGE, WHOLE), (REASON, TEXT), (BODY, TEXT)])
LONGEST_BODY = 2_000
"""Characters that are kept of a message that is no trip; the stream has all of it for as long as it keeps it."""
MOST = 10**12
"""No number of a trip is larger. Sums of zone-minutes, the largest of 64 bits, hold some million trips of such."""
FIRST_TIME = datetime(1, 1, 2)
"""No time is older: Python has none before the year 1, and the minutes before a trip are looked at too."""

_said: set[str] = set()
"""The fields that were said to be left out: once for all messages of a process."""


@dataclass(frozen=True)
class Judged:
    """One piece as the tables will have it: every message is in one of the three."""

    piece: Piece
    accepted: pa.RecordBatch
    rejected: pa.RecordBatch
    """With the reason in the last column."""
    not_trips: pa.RecordBatch

    def __deepcopy__(self, memo: object) -> Self:
        """Itself, as a piece is."""
        return self


def rules_of_a_stream(rules: Iterable[str]) -> tuple[Rule, ...]:
    """The rules by their names; UnknownName for one that needs a whole month, or that only counts what is odd."""
    found = tuple(map(rule_named, rules))
    for rule in found:
        if isinstance(rule, MonthRule):
            raise UnknownName(f"rule {rule.name} looks at a whole month: a stream has none, leave it out")
        if rule.action != REJECT:
            raise UnknownName(f"rule {rule}: nobody counts warnings in a stream: let it reject, or leave it out")
    return found


def judge(piece: Piece, service: Service, rules: Sequence[Rule]) -> Judged:
    """
    The messages as rows, divided by the rules; a trip without a time of pickup is rejected too.

    No trip is what is no JSON object, has another type than a column, or a value that no table can hold. A field that
    the service does not have is left out, and named once.
    """
    # One message a line; in JSON a raw line end can only be white space.
    lines = [body.replace(b"\n", b" ").replace(b"\r", b" ").strip() for body in piece.bodies]
    rows, why = _read(lines, service.schema.append(pa.field(FILE_MONTH, pa.date32())))
    numbers = pa.array(range(piece.first, piece.last + 1), WHOLE)
    good, wrong = ([place for place in range(len(lines)) if (place in why) is odd] for odd in (False, True))
    rows = rows.append_column(MESSAGE, numbers.take(pa.array(good, WHOLE)))
    found = [rule.reasons(*(rows[name] for name in rule.columns_in(service)), **rule.parameters) for rule in rules]
    timeless = pc.if_else(pc.is_null(rows[service.pickup]), f"malformed: {service.pickup}", pa.scalar(None, TEXT))
    accepted, rejected = split(rows, pc.coalesce(timeless, *found))
    not_trips = pa.record_batch(
        [
            numbers.take(pa.array(wrong, WHOLE)),
            pa.array([why[place] for place in wrong], TEXT),
            pa.array([_text(piece.bodies[place]) for place in wrong], TEXT),
        ],
        schema=NOT_TRIPS,
    )
    return Judged(piece, accepted, rejected, not_trips)


def _read(lines: list[bytes], schema: pa.Schema) -> tuple[pa.RecordBatch, dict[int, str]]:
    """The lines that are trips as rows; and of the others, by their places, why they are none."""
    rows = _parse(lines, schema)
    if isinstance(rows, pa.RecordBatch):
        return rows, {}
    alone = ((place, _parse([line], schema)) for place, line in enumerate(lines))
    why = {place: one for place, one in alone if isinstance(one, str)}
    rows = _parse([line for place, line in enumerate(lines) if place not in why], schema)
    if isinstance(rows, str):
        raise AssertionError(f"trips one by one, and together not: {rows}")
    return rows, why


def _parse(lines: list[bytes], schema: pa.Schema) -> pa.RecordBatch | str:
    """The lines as rows, one each; or why they are not."""
    if not lines:
        return pa.RecordBatch.from_pylist([], schema)
    # With these ends no object can go on in the next line, so that as many rows as lines are a row from each.
    if not all(line.startswith(b"{") and line.endswith(b"}") for line in lines):
        return "no JSON object"
    try:
        table = _objects(lines, schema)
    except UnicodeDecodeError:
        return "no UTF-8"
    except pa.ArrowInvalid as error:
        return shortened(str(error))
    if len(table) != len(lines):
        return "more than one JSON object"
    [rows] = table.combine_chunks().to_batches()
    return _unstorable(rows) or rows


def _objects(lines: list[bytes], schema: pa.Schema) -> pa.Table:
    """The objects of the lines; UnicodeDecodeError or ArrowInvalid for what is none, or of other types."""
    text = b"\n".join(lines)
    text.decode()  # Arrow takes any bytes as text, and Postgres does not
    # Times as text first: read as times, Arrow would drop a time zone unsaid.
    read = pa.schema((field.name, TEXT if pa.types.is_temporal(field.type) else field.type) for field in schema)

    def objects(unexpected: str) -> pa.Table:
        options = pj.ParseOptions(explicit_schema=read, unexpected_field_behavior=unexpected)
        return pj.read_json(io.BytesIO(text), pj.ReadOptions(use_threads=False, block_size=len(text) + 1), options)

    try:
        table = objects("error")
    except pa.ArrowInvalid:
        # Never "infer": a field that no column is for may be nested so deep that Arrow's stack does not hold it.
        table = objects("ignore")
        _say_left_out(lines, schema)
    return table.cast(schema)


def _unstorable(rows: pa.RecordBatch) -> str:
    """Why a table could not hold these rows, or their sums; empty where all is well."""
    for name, kind in zip(rows.schema.names, rows.schema.types, strict=True):
        column = rows[name]
        if pa.types.is_temporal(kind):
            if pc.any(pc.less(column, pa.scalar(FIRST_TIME, kind))).as_py():
                return f"{name} is before {FIRST_TIME.date()}"
        elif pa.types.is_string(kind):
            if pc.any(pc.match_substring(column, "\0")).as_py():
                return f"{name} has a zero byte"
        elif not pc.all(pc.and_(pc.less_equal(column, MOST), pc.greater_equal(column, -MOST)), min_count=0).as_py():
            return f"{name} is no number from -{MOST:,} to {MOST:,}"
    return ""


def _say_left_out(lines: list[bytes], schema: pa.Schema) -> None:
    fields: set[str] = set()
    for line in lines:
        with suppress(ValueError, RecursionError):  # Arrow takes more than Python does, and needs no name
            fields |= json.loads(line).keys() - {*schema.names}
    for name in sorted(fields - _said):
        print(f"WARNING messages have a field {shortened(name, LONGEST_NAME)}, which no column is for: it is left out")
    _said.update(fields)


def _text(body: bytes) -> str:
    return body.decode(errors="replace").replace("\0", "\ufffd")[:LONGEST_BODY]
