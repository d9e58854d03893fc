"""python -m benchmarks.cost: seconds, CPU and memory of each step of training, at three sizes."""

import argparse
import sys
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from rich.console import Console

from benchmarks.command import add_home, run
from benchmarks.cost.output import print_table, read_results, write_results
from benchmarks.cost.run import measure_size
from components.artifacts.tables import Tables
from components.datasets.complete_journey import load_complete_journey
from components.datasets.config import CompleteJourneyConfig
from pipelines.cli.options import overrides
from pipelines.cli.progress import ConsoleProgress

HERE = Path(__file__).parent
SIZES = (150_000, 1_500_000, 15_000_000)


def main(arguments: Sequence[str]) -> int:
    """Measure the sizes, print the table, write the results; the exit code."""
    return run(_run, parser().parse_args(arguments))


def parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cost", description=__doc__)
    parser.add_argument(
        "--sizes", nargs="+", type=int, default=SIZES, metavar="N", help="interactions (default: three sizes)"
    )
    parser.add_argument("--set", action="append", metavar="KEY=VALUE", help="override a value of the configuration")
    parser.add_argument("--seed", type=int, default=0, help="draws the data (default: %(default)s)")
    add_home(parser, ".recsys-bench/cost")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the results; sizes there stay")
    return parser


def _run(options: argparse.Namespace, console: Console) -> None:
    load = cache(_real_data)
    results = read_results(options.out)
    for size in options.sizes:
        console.rule(f"{size:,} interactions")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results[size] = measure_size(
                load,
                options.home / str(size),
                size,
                seed=options.seed,
                overrides=overrides(options.set),
                progress=ConsoleProgress(console),
            )
        write_results(results, options.out)
    print_table(results, console)
    console.print(f"results.json, COST.md and results.html: {options.out}", highlight=False, soft_wrap=True)


def _real_data() -> Tables:
    return load_complete_journey(CompleteJourneyConfig(adapter="complete_journey"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
