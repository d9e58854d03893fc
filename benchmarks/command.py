"""How a benchmark runs as a command: tables wide enough, a refusal in one line and as the exit code."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from components.artifacts.errors import RecsysError

NARROWEST = 110
"""Columns: a narrower terminal, or a log file, gets lines that run over rather than cut figures."""


def add_home(parser: argparse.ArgumentParser, default: str = ".recsys-bench") -> None:
    """--home, which becomes absolute: Feast's registry stores the path, and steps run elsewhere."""
    about = "state folder; a second run takes unchanged steps from it (default: %(default)s)"
    parser.add_argument("--home", type=lambda text: Path(text).absolute(), default=default, help=about)


def run(body: Callable[[argparse.Namespace, Console], None], options: argparse.Namespace) -> int:
    """The body with a console; the exit code."""
    try:
        body(options, Console(width=max(Console().width, NARROWEST)))
    except RecsysError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0
