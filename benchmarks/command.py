"""How a benchmark runs as a command: tables wide enough, a refusal in one line and as the exit code."""

import argparse
import sys
from collections.abc import Callable

from rich.console import Console

from components.artifacts.errors import RecsysError

NARROWEST = 110
"""Columns: a narrower terminal, or a log file, gets lines that run over rather than cut figures."""


def run(body: Callable[[argparse.Namespace, Console], None], options: argparse.Namespace) -> int:
    """The body with a console; the exit code."""
    try:
        body(options, Console(width=max(Console().width, NARROWEST)))
    except RecsysError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0
