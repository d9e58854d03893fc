"""python -m benchmarks.monitoring: false alarms and delays of the monitor, beside Evidently's defaults and KS / chi-square."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Part:
    """One question: what judges a world, sums worlds up, writes and shows them, and what it is in words."""

    judge: Callable[..., Any]
    summarise: Callable[..., Any]
    write: Callable[..., None]
    show: Callable[..., None]
    said: str = ""


WHOLE = Part(judge_world, summary, write_results, print_table)
PARTS: Mapping[str, Part] = {
    "weekly": Part(
        judge_weeks,
        summary_of_weeks,
        write_weeks,
        print_weeks,
        "windows of a week from the first on, in place of days",
    ),
    "scores": Part(
        judge_scores, summary_of_scores, write_scores, print_scores, "the check of the ranker's score by itself"
    ),
}
"""Option to a question by itself."""


def main(arguments: Sequence[str]) -> int:
    """Judge the worlds, print the table, write the results; the exit code."""
    return run(_run, parser().parse_args(arguments))


def parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.monitoring", description=__doc__)
    parser.add_argument("--worlds", type=int, default=20, help="of each size (default: %(default)s)")
    parser.add_argument(
        "--rows", nargs="+", type=int, default=ROWS, metavar="N", help="rows a day (default: two sizes)"
    )
    parser.add_argument("--first", type=int, default=0, help="seed of the first world (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the results")
    for name, part in PARTS.items():
        parser.add_argument(f"--{name}", dest="part", action="store_const", const=part, default=WHOLE, help=part.said)
    return parser


def _run(options: argparse.Namespace, console: Console) -> None:
    """Of each size the worlds are judged, told and written, so that what is known stays, should it be stopped."""
    part: Part = options.part
    lines, results = read_lines(), {}
    for rows in options.rows:
        worlds = []
        for seed in range(options.first, options.first + options.worlds):
            worlds.append(part.judge(lines, seed=seed, rows_per_day=rows))
            console.print(f"{rows:,} rows a day: world {len(worlds)} of {options.worlds}", highlight=False)
            results[str(rows)] = part.summarise(worlds)
            part.write(results, options.out)
    part.show(results, console)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
