"""python -m benchmarks.monitoring: false alarms and delays of the monitor, beside Evidently's defaults and KS / chi-square."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.command import run
from benchmarks.monitoring.output import print_table, write_results
from benchmarks.monitoring.run import judge_world, summary
from benchmarks.monitoring.traffic import read_lines
from benchmarks.monitoring.weekly import judge_weeks, print_weeks, summary_of_weeks, write_weeks

HERE = Path(__file__).parent
ROWS = (2_000, 20_000)


def main(arguments: Sequence[str]) -> int:
    """Judge the worlds, print the table, write the results; the exit code."""
    options = parser().parse_args(arguments)
    return run(_weekly if options.weekly else _run, options)


def parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.monitoring", description=__doc__)
    parser.add_argument("--worlds", type=int, default=20, help="of each size (default: %(default)s)")
    parser.add_argument(
        "--rows", nargs="+", type=int, default=ROWS, metavar="N", help="rows a day (default: two sizes)"
    )
    parser.add_argument("--first", type=int, default=0, help="seed of the first world (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the results")
    parser.add_argument("--weekly", action="store_true", help="windows of a week from the first on, in place of days")
    return parser


def _weekly(options: argparse.Namespace, console: Console) -> None:
    lines = read_lines()
    results = {}
    for rows in options.rows:
        worlds = []
        for seed in range(options.first, options.first + options.worlds):
            worlds.append(judge_weeks(lines, seed=seed, rows_per_day=rows))
            console.print(f"{rows:,} rows a day: world {len(worlds)} of {options.worlds}", highlight=False)
            results[str(rows)] = summary_of_weeks(worlds)
            write_weeks(results, options.out)
    print_weeks(results, console)


def _run(options: argparse.Namespace, console: Console) -> None:
    lines = read_lines()
    results = {}
    for rows in options.rows:
        worlds = []
        for seed in range(options.first, options.first + options.worlds):
            worlds.append(judge_world(lines, seed=seed, rows_per_day=rows))
            console.print(f"{rows:,} rows a day: world {len(worlds)} of {options.worlds}", highlight=False)
            results[str(rows)] = summary(worlds)
            write_results(results, options.out)  # what is known so far, should it be stopped
    print_table(results, console)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
