"""Searches that tests run in processes of their own: python -m tests.components.tuning.searching FILE|URL TRIALS."""

import os
import signal
import sys
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path

from components.tuning.config import SearchConfig
from components.tuning.search_space import Float, Params
from components.tuning.stores import JournalStore, PostgresStore, StudyStore
from components.tuning.study import Report, Search, search

INITIAL = {"x": 0.5, "y": 0.5}
SPACE = {"x": Float(-1.0, 1.0), "y": Float(-1.0, 1.0)}


def searched(place: Path | str, **options) -> Search:
    return Search(store_of(place), "toy-1", SPACE, INITIAL, **{"seed": 3} | options)


def store_of(place: Path | str) -> StudyStore:
    return PostgresStore(str(place)) if "://" in str(place) else JournalStore(Path(place))


def score(params: Params, _report: Report) -> float:
    """Best at x = 0.3, y = -0.2."""
    return -((params["x"] - 0.3) ** 2) - (params["y"] + 0.2) ** 2


@dataclass(frozen=True)
class Task:
    """For `work`: a budget, and the pipe through which the second process says that it has a trial."""

    journal: Path
    pipe: Path
    trials: int


def work(task: Task) -> None:
    """The process beside takes a trial, says so and is killed; the first one waits for that in its first trial."""
    heard: list[str] = []

    def objective(params: Params, report: Report) -> float:
        if parent_process() is not None:
            task.pipe.write_text("have one")
            os.kill(os.getpid(), signal.SIGKILL)
        if not heard:
            heard.append(task.pipe.read_text())
        return score(params, report)

    search(searched(task.journal), objective, SearchConfig(trials=task.trials, minutes=5))


def break_beside(task: Task) -> None:
    """The process beside fails with an error of its own."""
    if parent_process() is not None:
        raise ValueError("no such thing")


def main(place: str, trials: str) -> None:
    """Says each trial's x, and goes on when it is told to."""

    def objective(params: Params, report: Report) -> float:
        sys.stdout.write(f"{params['x']}\n")
        sys.stdout.flush()
        sys.stdin.readline()
        return score(params, report)

    search(searched(place), objective, SearchConfig(trials=int(trials), minutes=5))


if __name__ == "__main__":
    main(*sys.argv[1:])
