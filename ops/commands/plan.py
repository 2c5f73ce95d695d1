"""
What a query would scan in BigQuery, before it is run: a dry run, which is free.

Usage: python -m ops.commands.plan "SELECT ..."
"""

import sys

from nyc_taxi.errors import TaxiError
from nyc_taxi.load.bigquery.month import planned_bytes
from nyc_taxi.settings import Settings

from ops.errors import LocalStackError
from ops.stack.environment import environment

TIB = 1 << 40
USD_PER_TIB = 6.25
"""On-demand rate of the US multi-region, the first TiB of a month being free: https://cloud.google.com/bigquery/pricing"""
SMALLEST_BYTES = 10 << 20
"""What a query is charged at least, per table."""


def describe(planned: int, *, emulator: bool) -> str:
    """The bytes, and what they cost at the on-demand rate, as one line."""
    if emulator:
        return f"{planned:,} bytes: the emulator on this machine does not plan, and always answers 0"
    dollars = max(planned, SMALLEST_BYTES) / TIB * USD_PER_TIB
    return (
        f"{planned:,} bytes to scan; at USD {USD_PER_TIB} per TiB, BigQuery's on-demand rate in the US, "
        f"{dollars:.6f} USD. Rates differ by region and change: https://cloud.google.com/bigquery/pricing"
    )


def main() -> int:
    """Plan the statement of the command line; the exit code is 1 if BigQuery refuses it."""
    if len(sys.argv) != 2 or not sys.argv[1].strip():
        print('give one statement: make plan Q="select count(*) from yellow_cab_data"', file=sys.stderr)
        return 2
    try:
        google = Settings.from_environment(environment()).google
        print(describe(planned_bytes(sys.argv[1], google), emulator=bool(google.bigquery_emulator)))
    except (TaxiError, LocalStackError) as error:
        print(f"FAILED  {str(error).strip()}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
