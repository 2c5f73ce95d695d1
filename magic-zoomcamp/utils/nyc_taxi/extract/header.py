"""The names of a trip file's columns, as people's programs write them."""

import csv
import re
from collections.abc import Sequence
from contextlib import suppress

from nyc_taxi.catalog.origins import DELIMITERS
from nyc_taxi.catalog.services import Service
from nyc_taxi.errors import NotATripFile
from nyc_taxi.extract.conform import Columns, match_columns

_INDEX = re.compile(r"(unnamed: \d+(\.\d+)?)?", re.IGNORECASE)
"""What pandas calls its index when it writes it, and when it reads it and writes it again."""


def split_header(line: str, file: str, delimiter: str = "") -> tuple[list[str], str]:
    """
    The names in a CSV header and the delimiter, read as the rows are: names may be quoted, and hold the delimiter.

    Without a delimiter, the one of DELIMITERS that gives the most names is taken. Raises NotATripFile for quotation
    marks that no delimiter explains.
    """
    names: dict[str, list[str]] = {}
    candidates = (delimiter,) if delimiter else DELIMITERS
    for candidate in candidates:
        # Strict: a quotation mark in the middle of a name means another delimiter.
        with suppress(csv.Error):
            names[candidate] = next(csv.reader([line], delimiter=candidate, strict=True), [])
    best = max(names, key=lambda candidate: len(names[candidate]), default="")
    if not best or (len(names[best]) == 1 and len(names) < len(candidates)):
        raise NotATripFile(f"{file}: the quotation marks of its header do not match ({line[:60]!r}): check the file")
    return names[best], best


def columns_of(names: Sequence[str], service: Service, file: str) -> Columns:
    """How a file's columns map to the canonical ones, without an index that pandas wrote; raises as match_columns."""
    trimmed = [name.strip().strip("\ufeff").strip() for name in names]
    index = {place for place, name in enumerate(trimmed) if _INDEX.fullmatch(name)}
    if not index or len(index) == len(names):
        return match_columns(names, service, file)
    rest = match_columns([name for place, name in enumerate(names) if place not in index], service, file)
    left_out = [trimmed[place] or f"column {place + 1} without a name" for place in sorted(index)]
    print(f"{file}: {', '.join(left_out)} left out, as an index that pandas wrote", flush=True)
    canonical = iter(rest.canonical)
    return Columns(
        canonical=tuple(None if place in index else next(canonical) for place in range(len(names))),
        dropped=(*left_out, *rest.dropped),
    )
