"""python -m benchmarks.quality: recommendation quality beside what else there is, on the same queries."""

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.command import add_home, run
from benchmarks.quality.moments import trainer
from benchmarks.quality.output import print_tables, write_results
from benchmarks.quality.plan import (
    COMPLETE_JOURNEY,
    COMPLETE_JOURNEY_CUTS,
    GET_MOVIELENS,
    MOVIELENS,
    TRIALS,
    Plan,
    make_plan,
    movielens_plan,
)
from benchmarks.quality.ratings import PREDICTORS, predictors
from benchmarks.quality.run import measure
from benchmarks.quality.systems.catalogue import SYSTEMS, chosen
from components.artifacts.errors import ConfigError
from pipelines.cli.progress import ConsoleProgress

HERE = Path(__file__).parent


def main(arguments: Sequence[str]) -> int:
    """Measure the data sets, print the tables, write the results; the exit code."""
    return run(_run, parser().parse_args(arguments))


def parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument(
        "--data",
        nargs="+",
        choices=[COMPLETE_JOURNEY, MOVIELENS],
        default=[COMPLETE_JOURNEY, MOVIELENS],
        help="which of the shipped data sets",
    )
    parser.add_argument("--movielens", type=Path, metavar="DIR", help="unpacked folder of ml-latest-small")
    parser.add_argument("--config", metavar="YAML", help="a data set of your own, instead of the shipped ones")
    parser.add_argument(
        "--cuts", nargs="+", default=(), metavar="DATE", help="test cuts of --config, else of the Complete Journey"
    )
    parser.add_argument("--trials", type=_positive, default=TRIALS, help="of each system (default: %(default)s)")
    parser.add_argument(
        "--systems", nargs="+", default=(), metavar="NAME", help=f"some of {', '.join(one.name for one in SYSTEMS)}"
    )
    add_home(parser)
    parser.add_argument("--out", type=Path, help="folder of the results (default: this package's; with --quick, HOME)")
    parser.add_argument("--quick", action="store_true", help="few trials, a fifth of the users, one cut")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is under 1; at least one trial is needed")
    return number


def _run(options: argparse.Namespace, console: Console) -> None:
    systems, plans = chosen(options.systems), _plans(options, console)
    for absent in sorted({one.label for one in PREDICTORS} - {one.label for one in predictors()}):
        console.print(f"{absent} is left out, its package is not installed: run `make bench-quality`.", soft_wrap=True)
    home = options.home
    home = home / "quick" if options.quick else home
    out = options.out or (home if options.quick else HERE)
    results = []
    for plan in plans:
        console.rule(plan.config)
        train = trainer(ConsoleProgress(console))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results.append(
                measure(
                    plan,
                    systems,
                    home,
                    train,
                    say=lambda line: console.print(f"  {line}", highlight=False, soft_wrap=True),
                )
            )
        write_results(results, out)
        print_tables(results[-1], console)
    console.print(f"results.json, RESULTS.md and results.html: {out}", highlight=False, soft_wrap=True)


def _plans(options: argparse.Namespace, console: Console) -> list[Plan]:
    shared = {"trials": options.trials, "quick": options.quick}
    if options.config:
        return [make_plan(options.config, cuts=options.cuts, overrides={}, **shared)]
    plans = []
    if COMPLETE_JOURNEY in options.data:
        cuts = options.cuts or COMPLETE_JOURNEY_CUTS
        plans.append(make_plan(COMPLETE_JOURNEY, cuts=cuts, overrides={}, **shared))
    if MOVIELENS in options.data and options.movielens:
        plans.append(movielens_plan(options.movielens.absolute(), **shared))
    elif MOVIELENS in options.data:
        console.print(GET_MOVIELENS, soft_wrap=True)
    if not plans:
        raise ConfigError("--data movielens: no data set is left to measure. Give --movielens DIR.")
    return plans


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
