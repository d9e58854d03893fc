"""Searches that are finished, kept in the state folder.

A run that was stopped goes on, and one of a changed ranker does not search anew what stands beside it.
"""

import hashlib
import importlib
import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.quality import moments, tune
from benchmarks.quality.moments import TrainedCut
from benchmarks.quality.systems import system
from benchmarks.quality.systems.system import System
from benchmarks.quality.tune import Found
from components.artifacts.whole_file import write_whole
from components.tuning.search_space import Params

LIBRARIES = ("components.retrieval", "components.ingest_events")
"""Packages whose code a system's figure depends on, beside its own module."""


class KeptSearches:
    """One file per search, named by everything that its result depends on but the data's own bytes and the libraries."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def found(self, facts: Sequence[object], search: Callable[[], Found]) -> Found:
        """What the search of these facts found, here or in an earlier run."""
        path = self.folder / f"{hashlib.sha256(repr(list(facts)).encode()).hexdigest()[:16]}.json"
        if path.is_file():
            return Found(**json.loads(path.read_text()))
        result = search()
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(asdict(result)))
        return result


def facts_of(one: System, initial: Params, trained: TrainedCut, *, trials: int, seed: int) -> list[object]:
    """What a system's result at a cut depends on: data, question, space, budget, code."""
    config = trained.config
    return [
        one.name,
        repr(one.space),
        initial,
        trials,
        seed,
        config.dataset.model_dump(mode="json"),
        config.ingest.model_dump(mode="json"),
        config.resolved_split().model_dump(mode="json"),
        str(trained.cuts.validation),
        source_of(one.fit.__module__),
    ]


def source_of(module: str) -> str:
    """Twelve hex digits of the code behind a system: its module, what they share, the retrievers, cleaning."""
    modules = [importlib.import_module(module), system, tune, moments]
    libraries = [Path(str(importlib.import_module(name).__path__[0])) for name in LIBRARIES]
    files = [path for folder in libraries for path in sorted(folder.glob("*.py"))]
    parts = [*(inspect.getsource(one) for one in modules), *(path.read_text() for path in files)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
