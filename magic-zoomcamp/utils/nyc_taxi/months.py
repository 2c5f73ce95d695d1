"""A calendar month, the unit in which trip files are published and replaced."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Self

_FORM = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")


@dataclass(frozen=True, order=True)
class Month:
    """One calendar month; sorts by time, prints as YYYY-MM."""

    year: int
    number: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read 'YYYY-MM'; raise ValueError for anything else."""
        match = _FORM.fullmatch(text)
        if not match:
            raise ValueError(f"month {text!r} is not of the form YYYY-MM, such as 2021-01")
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def of(cls, day: date) -> Self:
        """The month that holds a date or datetime."""
        return cls(day.year, day.month)

    @property
    def first_day(self) -> date:
        """The first day of the month."""
        return date(self.year, self.number, 1)

    def shift(self, months: int) -> "Month":
        """The month that many months later, or earlier when negative."""
        year, index = divmod(self.year * 12 + self.number - 1 + months, 12)
        return Month(year, index + 1)

    def bounds(self) -> tuple[datetime, datetime]:
        """The half-open interval [start, end) of the month, in NYC wall clock like the trips."""
        end = self.shift(1)
        return datetime(self.year, self.number, 1), datetime(end.year, end.number, 1)

    def __str__(self) -> str:
        """YYYY-MM, as in the names of trip files."""
        return f"{self.year:04d}-{self.number:02d}"


def month_range(first: Month, last: Month) -> Iterator[Month]:
    """Every month from first to last, both included."""
    while first <= last:
        yield first
        first = first.shift(1)
