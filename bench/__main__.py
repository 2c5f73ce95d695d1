"""The benchmark's command line: `python -m bench`. README.md says what is measured and how to read it."""

import argparse
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from tempfile import mkdtemp

from bench import cloud, ours, peers
from bench.arena import Arena, arena
from bench.measure import CommandFailed, Measured, run
from bench.peers import NotAvailable, Peer
from bench.results import Result, Target

MONTH, ROWS, QUICK_ROWS = "2021-01", 1_369_765, 200_000
LARGE_MONTH, LARGE_ROWS = "2019-03", 14_000_000
LIMIT_SECONDS = 900
CONTESTANTS = (peers.PSQL, ours.BLOCKS, ours.MAGE, peers.COURSE, peers.DUCKDB, peers.DLT)
QUICK_CONTESTANTS = CONTESTANTS[:4]
PEAK_MB = 700


def measure_once(arena: Arena, peer: Peer, month: str) -> tuple[Measured, int]:
    """One run in a folder of its own, on a server that has written everything back; with the rows it loaded."""
    command = peer.command(arena, month)
    folder = Path(mkdtemp(prefix=f"{peer.name.replace(' ', '-')}-", dir=arena.folder))
    arena.sql(*peer.prepare, "CHECKPOINT")
    measured = run(command, arena.environ(folder), folder, LIMIT_SECONDS)
    if peer.timed != peers.WHOLE:
        own = json.loads(measured.output.splitlines()[-1])
        measured = Measured(own["seconds"], measured.peak_mb, measured.tree_mb, measured.output, own["steps"])
    return measured, arena.sql(peer.rows.format(month=f"{month}-01"))


def measure_all(arena: Arena, contestants: Sequence[Peer], rounds: int) -> list[Result]:
    """Every contestant once per round, in turn: what disturbs the machine for a while disturbs them all."""
    results = [Result(peer) for peer in contestants]
    for number in range(1, rounds + 1):
        for peer, result in zip(contestants, results, strict=True):
            if result.missing:
                continue
            try:
                measured, result.rows = measure_once(arena, peer, MONTH)
            except NotAvailable as reason:
                result.missing = str(reason)
                continue
            result.runs.append(measured)
            say(f"round {number} of {rounds}: {result.peer.name} {measured.seconds:.2f} s")
    return results


def table(results: Sequence[Result]) -> str:
    """The results side by side; ratios are to the first one."""
    first = results[0]
    lines = [
        f"{'':<10}{'seconds':>9}{'x psql':>8}{'best s':>9}{'x psql':>8}{'peak MB':>9}{'tree MB':>9}{'rows':>12}  timed"
    ]
    for result in results:
        if result.missing:
            lines.append(f"{result.peer.name:<10}  not available here: {result.missing}")
            continue
        lines.append(
            f"{result.peer.name:<10}{result.seconds:>9.2f}{result.seconds / first.seconds:>8.2f}"
            f"{result.best:>9.2f}{result.best / first.best:>8.2f}"
            f"{result.peak_mb:>9.0f}{result.tree_mb:>9.0f}{result.rows:>12,}  {result.peer.timed}"
        )
    return "\n".join(lines)


def steps(result: Result) -> str:
    """The median seconds of each step of a contestant that tells them."""
    names = result.runs[0].steps
    return ", ".join(f"{name} {median(run.steps[name] for run in result.runs):.2f} s" for name in names)


def wrong_rows(results: Sequence[Result]) -> list[str]:
    """Contestants whose table does not hold the rows that psql counted."""
    expected = results[0].rows
    return [
        f"{result.peer.name} loaded {result.rows:,} rows, psql {expected:,}"
        for result in results
        if result.runs and (result.rows != expected or not expected)
    ]


def speed_targets(results: Sequence[Result]) -> list[Target]:
    """What the pipeline must reach at the usual month, by median."""
    psql, blocks, mage, course = (result.seconds for result in results[:4])
    return [
        Target("blocks: seconds, relative to psql", blocks / psql, 1.2, "x"),
        Target("mage run: seconds, relative to psql", mage / psql, 2.2, "x"),
        Target("course: seconds, relative to mage run", course / mage, 5, "x", at_least=True),
    ]


def growth_targets(small: Result, large: Measured) -> list[Target]:
    """What the pipeline must reach at a month ten times as big."""
    growth = 100 * (large.peak_mb / small.peak_mb - 1)
    return [
        Target(f"mage run of {LARGE_ROWS:,} rows: peak memory", large.peak_mb, PEAK_MB, "MB"),
        Target("  its growth over the usual month", growth, 10, "%"),
        Target("  seconds, relative to the usual month", large.seconds / small.seconds, 11, "x"),
    ]


def as_json(
    rows: int,
    results: Sequence[Result],
    large: Measured | None,
    targets: Sequence[Target],
    clouds: Mapping[str, object],
    months: Mapping[str, object],
) -> str:
    """Everything measured, for a program."""
    return json.dumps(
        {
            "rows_in_file": rows,
            "contestants": {
                result.peer.name: {
                    "what": result.peer.what,
                    "timed": result.peer.timed,
                    "not_available": result.missing,
                    "rows": result.rows,
                    "runs": [asdict(run) | {"output": None} for run in result.runs],
                }
                for result in results
            },
            "large": asdict(large) | {"rows_in_file": LARGE_ROWS, "output": None} if large else None,
            "cloud": clouds,
            "backfill": months,
            "targets": [asdict(target) | {"reached": target.reached} for target in targets],
        },
        indent=2,
    )


def say(text: str) -> None:
    """Progress, apart from the report."""
    print(text, file=sys.stderr, flush=True)


def bench(quick: bool, rounds: int, report: Path | None) -> int:
    """Run everything and print the report; 0 when every row arrived and every target that was judged is reached."""
    rows = QUICK_ROWS if quick else ROWS
    with arena() as place:
        place.generate(MONTH, rows)
        results = measure_all(place, QUICK_CONTESTANTS if quick else CONTESTANTS, rounds)
        large: Measured | None = None
        print(f"\nyellow {MONTH} dtc, {rows:,} rows, rounds: {rounds}\n{table(results)}")
        print("blocks, by step: " + steps(results[1]))
        ready = cloud.prepare(place, MONTH, course=True)
        exports = cloud.measure_all(place, cloud.EXPORTERS, ready, rounds, say)
        moved = [cloud.measure_warehouse(place, ready)]
        clouds: dict[str, object] = {"usual": cloud.as_json(exports, moved)}
        print(f"\nthe same month to Cloud Storage\n{cloud.table(exports)}")
        wrong = wrong_rows(results) + cloud.wrong_rows(exports, ready)
        targets = [] if quick else speed_targets(results)
        if not quick:
            say(f"making a file of {LARGE_ROWS:,} rows")
            place.generate(LARGE_MONTH, LARGE_ROWS)
            large, loaded = measure_once(place, ours.MAGE, LARGE_MONTH)
            targets += growth_targets(results[2], large)
            print("\nmemory and growth of mage run")
            for count, taken in ((results[2].rows, results[2]), (loaded, large)):
                print(f"{count:>12,} rows loaded{taken.seconds:>9.2f} s{taken.peak_mb:>9.0f} MB peak")
            ready = cloud.prepare(place, LARGE_MONTH, course=False)
            larges = cloud.measure_all(place, cloud.WITHOUT_COURSE, ready, 1, say)
            moved.append(cloud.measure_warehouse(place, ready))
            clouds["large"] = cloud.as_json(larges, moved[1:])
            print(f"\n{LARGE_ROWS:,} rows to Cloud Storage, once\n{cloud.table(larges)}")
            wrong += cloud.wrong_rows(larges, ready)
            targets += cloud.targets(exports, larges, moved)
        print(f"\nfrom there to BigQuery\n{cloud.moves(moved)}")
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
        report.write_text(as_json(rows, results, large, targets, clouds, asdict(months)))
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
