"""How a run looks on a terminal: a line when a step begins, its own words, a line when it ends."""

import logging

from rich.console import Console
from rich.text import Text


class ConsoleProgress:
    """Prints steps as they go; plain lines, so a log file reads like the screen."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def started(self, step: str) -> None:
        """The step's name."""
        self.console.print(f"▸ {step}", style="bold", highlight=False)

    def said(self, step: str, line: str) -> None:  # noqa: ARG002 - steps run one after the other
        """The step's own words, indented."""
        self.console.print(f"    {line}", style="dim", highlight=False, markup=False, soft_wrap=True)

    def finished(self, step: str, seconds: float) -> None:
        """How long it took."""
        done = Text.assemble(("  ✓", "green"), f" {step} ", (f"{seconds:.1f} s", "dim"))
        self.console.print(done, highlight=False)


def show_log(console: Console, packages: tuple[str, ...] = ("components", "feature_repo", "monitoring")) -> None:
    """Print what the platform's own code logs, where no pipeline runs it."""
    for package in packages:
        logger = logging.getLogger(package)
        logger.handlers, logger.propagate = [_ConsoleHandler(console)], False
        logger.setLevel(logging.INFO)


class _ConsoleHandler(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        self.console.print(f"    {record.getMessage()}", style="dim", highlight=False, markup=False, soft_wrap=True)
