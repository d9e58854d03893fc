"""python -m benchmarks.monitoring: false alarms and delays of the monitor, beside Evidently's defaults and KS / chi-square."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.command import run
from benchmarks.monitoring.output import print_table, write_results
from benchmarks.monitoring.run import judge_world, summary
from benchmarks.monitoring.scores import judge_scores, print_scores, summary_of_scores, write_scores
from benchmarks.monitoring.traffic import read_lines
from benchmarks.monitoring.weekly import judge_weeks, print_weeks, summary_of_weeks, write_weeks

HERE = Path(__file__).parent
ROWS = (2_000, 20_000)
PARTS: Mapping[str, tuple[Callable[..., Any], ...]] = {
    "weekly": (judge_weeks, summary_of_weeks, write_weeks, print_weeks),
    "scores": (judge_scores, summary_of_scores, write_scores, print_scores),
}
"""Option to what judges a world, sums worlds up, writes and shows them."""


def main(arguments: Sequence[str]) -> int:
    """Judge the worlds, print the table, write the results; the exit code."""
    options = parser().parse_args(arguments)
    return run(_part if options.part else _run, options)


def parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.monitoring", description=__doc__)
    parser.add_argument("--worlds", type=int, default=20, help="of each size (default: %(default)s)")
    parser.add_argument(
        "--rows", nargs="+", type=int, default=ROWS, metavar="N", help="rows a day (default: two sizes)"
    )
    parser.add_argument("--first", type=int, default=0, help="seed of the first world (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the results")
    weekly, scores = (
        "windows of a week from the first on, in place of days",
        "the check of the ranker's score by itself",
    )
    for name, said in (("weekly", weekly), ("scores", scores)):
        parser.add_argument(f"--{name}", dest="part", action="store_const", const=name, help=said)
    return parser


def _part(options: argparse.Namespace, console: Console) -> None:
    """One question by itself: of each size the worlds are judged, told and written, so that what is known stays."""
    judge, summarise, write, show = PARTS[options.part]
    lines, results = read_lines(), {}
    for rows in options.rows:
        worlds = []
        for seed in range(options.first, options.first + options.worlds):
            worlds.append(judge(lines, seed=seed, rows_per_day=rows))
            console.print(f"{rows:,} rows a day: world {len(worlds)} of {options.worlds}", highlight=False)
            results[str(rows)] = summarise(worlds)
            write(results, options.out)
    show(results, console)


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
