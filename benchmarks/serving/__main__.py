"""python -m benchmarks.serving: what a recommendation costs in the server, and beside KServe's own pair of servers."""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from benchmarks import command
from benchmarks.serving.output import markdown, write_results
from benchmarks.serving.run import run

OUT = Path(__file__).parent


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="of each shop")
    parser.add_argument("--candidates", type=int, nargs="+", default=[100, 200, 500], help="quotas in all")
    parser.add_argument("--shops", type=Path, default=Path(".recsys-bench/serving"), help="where shops are kept")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the results")
    return command.run(_measure, parser.parse_args())


def _measure(options: argparse.Namespace, console: Console) -> None:
    results = run(options.shops.absolute(), items=options.items, candidates=options.candidates, say=console.print)
    write_results(results, options.out)
    console.print(markdown(results), markup=False)


if __name__ == "__main__":
    sys.exit(main())
