"""Windows of a week, one after the other from the first on: how many are quiet while nothing is wrong, and what is found."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.monitoring.detectors import DriftDays, Ours
from benchmarks.monitoring.traffic import (
    FEATURES,
    FIRST_HISTORY,
    Traffic,
    joined,
    make_world,
    shift_category,
    shift_price,
)
from monitoring.config import CalibrationConfig, DriftConfig

WEEK, WINDOWS = 7, 12
DAYS = FIRST_HISTORY + WINDOWS * WEEK
RULES = {
    "first four": DriftConfig(),
    "none until eight": DriftConfig(history_first=DriftConfig().history_needed),
}
"""The product's, and what it was: no window of its own counts before all that are needed are known."""
PARTS = {"1 to 4": (0, 4), "5 to 8": (4, 8), "9 to 12": (8, 12)}
FAULTS = {"category_x3": (shift_category, "department"), "price_x1.2": (shift_price, "price_usd")}
"""A change of the traffic, and the feature that has to move."""


@dataclass(frozen=True)
class Weeks:
    """One world by one rule, of each window.

    Attributes:
        quiet: Whether any feature moved where nothing is wrong, shape (WINDOWS,).
        faults: Scenario and place of the first window that has it to whether its feature moved in that window and each of the
            three after it, shape (4,).
    """

    quiet: NDArray[np.bool_]
    faults: Mapping[tuple[str, int], NDArray[np.bool_]]


def judge_weeks(lines: pd.DataFrame, *, seed: int, rows_per_day: int) -> dict[str, Weeks]:
    """A world by each rule."""
    world = make_world(lines, seed=seed, rows_per_day=rows_per_day, days=DAYS)
    return {name: _judge(world, rule, seed) for name, rule in RULES.items()}


def _judge(world: Traffic, rule: DriftConfig, seed: int) -> Weeks:
    ours = Ours(world, rule, CalibrationConfig(), seed=seed)
    drift = ours.drifted(world, end=DAYS, window=WEEK)
    quiet = np.array([any(drift.is_moved(day, name) for name in FEATURES) for day in range(FIRST_HISTORY, DAYS, WEEK)])
    starts = [first for first, _ in PARTS.values()][1:]
    return Weeks(
        quiet, {(name, first): _fault(name, first, world, ours, drift, seed) for name in FAULTS for first in starts}
    )


def _fault(name: str, first: int, world: Traffic, ours: Ours, drift: DriftDays, seed: int) -> NDArray[np.bool_]:
    change, feature = FAULTS[name]
    start = FIRST_HISTORY + first * WEEK
    end = start + 4 * WEEK
    faulty = joined(world.of_days(0, start), change(world.of_days(start, end), np.random.default_rng((seed, start))))
    found = ours.drifted(faulty, start=start, end=end, before=drift, window=WEEK)
    return np.array([found.is_moved(day, feature) for day in range(start, end, WEEK)])


def summary_of_weeks(worlds: Sequence[Mapping[str, Weeks]]) -> dict[str, Any]:
    """Of each rule: the share of windows without an alarm where nothing is wrong, and with one where something is."""
    return {"worlds": len(worlds), **{rule: _summary([world[rule] for world in worlds]) for rule in RULES}}


def _summary(worlds: Sequence[Weeks]) -> dict[str, Any]:
    alarms = np.array([world.quiet for world in worlds])
    found = {
        f"{name} from window {first + 1} on": [
            round(float(share), 3) for share in np.mean([w.faults[name, first] for w in worlds], axis=0)
        ]
        for name, first in worlds[0].faults
    }
    return {
        "false": {part: round(float(alarms[:, slice(*ends)].mean()), 3) for part, ends in PARTS.items()},
        "found": found,
    }


def write_weeks(results: Mapping[str, Any], out: Path) -> None:
    """`weekly.json`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "weekly.json").write_text(json.dumps(results, indent=2, sort_keys=True) + "\n")


def print_weeks(results: Mapping[str, Any], console: Console) -> None:
    """False alarms by the place of the window; then what is found in each of the four windows of a fault."""
    for rows, one in results.items():
        table = Table(f"{int(rows):,} rows a day, {one['worlds']} worlds", *RULES, box=None)
        for part in PARTS:
            table.add_row(
                f"false alarms, windows {part}", *(f"{100 * one[rule]['false'][part]:.0f} %" for rule in RULES)
            )
        for fault in one[next(iter(RULES))]["found"]:
            shares = ([f"{100 * share:.0f}" for share in one[rule]["found"][fault]] for rule in RULES)
            table.add_row(fault, *(f"{', '.join(found)} %" for found in shares))
        console.print(table)
