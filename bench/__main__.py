"""The benchmark's command line: `python -m bench`. README.md says what is measured and how to read it."""

import argparse
import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from statistics import median

from bench import cloud, database, for_hire
from bench.arena import arena
from bench.measure import CommandFailed, Measured
from bench.results import NotAvailable, Result, Results, Target, in_turn, table, wrong_rows

MONTH, ROWS, QUICK_ROWS = "2021-01", 1_369_765, 20_000
LARGE_MONTH, LARGE_ROWS = "2019-03", 14_000_000


def steps(result: Result) -> str:
    """The median seconds of each step of a contestant that tells them."""
    names = result.runs[0].steps
    return ", ".join(f"{name} {median(run.steps[name] for run in result.runs):.2f} s" for name in names)


def results_as_json(results: Results) -> dict[str, object]:
    """Everything measured of each contestant, for a program."""
    return {name: result.as_json() for name, result in results.items()}


def say(text: str) -> None:
    """Progress, apart from the report."""
    print(text, file=sys.stderr, flush=True)


def bench(quick: bool, rounds: int, report: Path | None) -> int:
    """Run everything and print the report; 0 when every row arrived and every target that was judged is reached."""
    rows = QUICK_ROWS if quick else ROWS
    loaders = database.QUICK_LOADERS if quick else database.LOADERS
    large: Measured | None = None
    larges: Results = {}
    targets: list[Target] = []
    with arena() as place:
        place.generate(MONTH, rows)
        results = in_turn(loaders, rounds, lambda loader: database.measure(place, loader, MONTH), say)
        psql, mage = results[database.PSQL.name], results[database.MAGE.name]
        print(f"\nyellow {MONTH} dtc, {rows:,} rows, rounds: {rounds}")
        print(table(results, "psql", lambda _: database.PSQL.name))
        print("blocks, by step: " + steps(results[database.BLOCKS.name]))
        ready = cloud.prepare(place, MONTH)
        for_hire.generate(place, for_hire.QUICK_ROWS if quick else for_hire.ROWS)
        hired = in_turn(
            (for_hire.BLOCKS,) if quick else (for_hire.BLOCKS, for_hire.DUCKDB),
            rounds,
            lambda loader: database.measure(place, loader, for_hire.MONTH),
            say,
        )
        print(f"\nfhvhv {for_hire.MONTH} tlc\n{table(hired, 'blocks', lambda _: for_hire.BLOCKS.name)}")
        exports = in_turn(cloud.EXPORTERS, rounds, lambda exporter: cloud.measure(place, exporter, ready), say)
        moved = [cloud.measure_warehouse(place, ready)]
        print(f"\nthe same month to Cloud Storage\n{table(exports, 'peer', cloud.peer_of)}")
        wrong = wrong_rows(results, psql.rows) + wrong_rows(exports, ready.rows)
        wrong += wrong_rows(hired, for_hire.QUICK_ROWS if quick else for_hire.ROWS)
        if not quick:
            say(f"making a file of {LARGE_ROWS:,} rows")
            place.generate(LARGE_MONTH, LARGE_ROWS)
            large, loaded = database.measure(place, database.MAGE, LARGE_MONTH)
            print("\nmemory and growth of mage run")
            for count, taken in ((mage.rows, mage), (loaded, large)):
                print(f"{count:>12,} rows loaded{taken.seconds:>9.2f} s{taken.peak_mb:>9.0f} MB peak")
            big = cloud.prepare(place, LARGE_MONTH)
            larges = in_turn(cloud.WITHOUT_MAGE, 1, lambda exporter: cloud.measure(place, exporter, big), say)
            moved.append(cloud.measure_warehouse(place, big))
            print(f"\n{LARGE_ROWS:,} rows to Cloud Storage, once\n{table(larges, 'peer', cloud.peer_of)}")
            wrong += wrong_rows(larges, big.rows)
            targets += database.speed_targets(results) + database.growth_targets(mage, large, LARGE_ROWS)
            targets += for_hire.targets(hired)
            targets += cloud.targets(exports, larges, moved)
        print("\nfrom there to BigQuery", *moved, sep="\n")
        # Here, for it takes 100 MB: a child measured after it would start with them.
        from bench import backfill

        say("a backfill of many small months")
        months = backfill.on_a_server(place, quick)
        print(f"\na backfill\n{months}")
        targets += [] if quick else months.targets()
    if targets:
        print("\nmust reach", *targets, sep="\n")
    for line in wrong:
        print(f"WRONG: {line}")
    if report:
        measured = {
            "rows_in_file": rows,
            "contestants": results_as_json(results),
            "for_hire": results_as_json(hired),
            "large": large.as_json() | {"rows_in_file": LARGE_ROWS} if large else None,
            "cloud": {
                "usual": results_as_json(exports),
                "large": results_as_json(larges),
                "warehouse": [each.as_json() for each in moved],
            },
            "backfill": asdict(months),
            "targets": [asdict(target) | {"reached": target.reached} for target in targets],
        }
        report.write_text(json.dumps(measured, indent=2))
    return int(bool(wrong) or not all(target.reached for target in targets))


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 1 when rows differ, a contestant fails or a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="The pipeline beside other ways to load.")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved runs of each contestant (3)")
    parser.add_argument("--quick", action="store_true", help="a small file, one round, no targets: does it work?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that everything is cleaned up
    try:
        return bench(options.quick, 1 if options.quick else max(1, options.rounds), options.json)
    except (CommandFailed, NotAvailable) as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
