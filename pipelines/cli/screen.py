"""The terminal, or the file or pipe in its place, that commands print to."""

import os
import sys

from rich.console import Console
from rich.table import Table

UNSEEN_WIDTH = 200
"""Columns where nobody looks: names in a table that is piped into a search must not be cut at 80."""


def screen(*, stderr: bool = False, soft_wrap: bool = False) -> Console:
    """A console that prints what it is given: brackets in titles, ids and names of files are no markup."""
    is_seen = (sys.stderr if stderr else sys.stdout).isatty() or "COLUMNS" in os.environ
    width = None if is_seen else UNSEEN_WIDTH
    return Console(stderr=stderr, soft_wrap=soft_wrap, markup=False, width=width)


def print_rows(console: Console, table: Table, otherwise: str) -> None:
    """A table; where it has no row, a sentence that says so and what makes one."""
    if table.row_count:
        console.print(table)
    else:
        console.print(otherwise, highlight=False, soft_wrap=True)
