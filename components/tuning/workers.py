"""Several processes at one search. They share nothing but the study."""

import logging
import multiprocessing
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from typing import TypeVar

from components.artifacts.errors import RecsysError

log = logging.getLogger(__name__)

T = TypeVar("T")


def work_together(workers: int, work: Callable[[T], None], task: T) -> None:
    """Do the work here and in `workers - 1` processes beside this one, until each has found nothing left to do.

    A process that is killed loses its trial only: those who are left take it up, and this one looks once more where
    one was killed.

    Args:
        workers: How many work.
        work: A function of a module: processes are spawned. It returns where the budget is spent.
        task: What it is told; pickled for the way into the processes.

    Raises:
        RecsysError: A process ended with an error of its own.
    """
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks, and not the threads
    others = [context.Process(target=work, args=(task,), daemon=True) for _ in range(workers - 1)]
    for other in others:
        other.start()
    try:
        work(task)
        killed = _wait(others)
    finally:
        for other in others:
            other.terminate()
    if killed:
        work(task)


def _wait(others: Sequence[BaseProcess]) -> int:
    """How many were killed."""
    for other in others:
        other.join()
    killed = [other.exitcode for other in others if (other.exitcode or 0) < 0]
    if killed:
        log.warning("%d of %d further processes were killed (signal %s)", len(killed), len(others), -(killed[0] or 0))
    broken = [other.exitcode for other in others if (other.exitcode or 0) > 0]
    if broken:
        raise RecsysError(
            f"search: {len(broken)} of {len(others)} further processes ended with exit code {broken[0]}; "
            "their traceback is in the log above. Run with workers=1 to see it here."
        )
    return len(killed)
