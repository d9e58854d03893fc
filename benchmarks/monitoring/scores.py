"""The check of the ranker's score by itself: by its index against its own days, as the product judges it.

A verdict keeps no more of the score than its index, so no bin of it is held against its past, and no retraining follows.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.monitoring.detectors import DriftDays, Ours
from benchmarks.monitoring.run import SCENARIO_DAYS, episodes
from benchmarks.monitoring.traffic import (
    DAYS,
    FIRST_JUDGED,
    SCORE,
    Traffic,
    joined,
    lose_clicks,
    lose_users,
    make_world,
    shift_scores,
)
from monitoring.config import CalibrationConfig, DriftConfig

CHANGES: Mapping[str, Callable[[Traffic, np.random.Generator], Traffic]] = {
    "scores_x0.9": shift_scores,
    "users_x0.5": lose_users,
    "segment_clicks_x0.8": lose_clicks,
}
"""The first moves the scores. The others leave them as they are, so every alarm of theirs is wrong."""
ONLY = (SCORE,)


@dataclass(frozen=True)
class Scored:
    """One world.

    Attributes:
        quiet: Whether the score alarmed on each judged day without a change, shape (30,).
        confirmed: Whether it had on two of the last three.
        changed: Change to its alarms on the ten days of it, shape (10,).
    """

    quiet: NDArray[np.bool_]
    confirmed: NDArray[np.bool_]
    changed: Mapping[str, NDArray[np.bool_]]


def judge_scores(lines: pd.DataFrame, *, seed: int, rows_per_day: int) -> Scored:
    """A world without a change, and with each from another weekday on."""
    world = make_world(lines, seed=seed, rows_per_day=rows_per_day)
    ours = Ours(world, DriftConfig(), CalibrationConfig(), seed=seed)
    quiet = ours.drifted(world, names=ONLY, with_bins=False)
    start = FIRST_JUDGED + 7 + seed % 7
    changed = {name: _changed(name, world, ours, quiet, start, seed) for name in CHANGES}
    return Scored(_alarms(quiet, FIRST_JUDGED, DAYS), quiet.confirmed(FIRST_JUDGED, DAYS, ONLY), changed)


def _changed(name: str, world: Traffic, ours: Ours, quiet: DriftDays, start: int, seed: int) -> NDArray[np.bool_]:
    end = start + SCENARIO_DAYS
    after = CHANGES[name](world.of_days(start, end), np.random.default_rng((seed, start)))
    faulty = joined(world.of_days(0, start), after)
    found = ours.drifted(faulty, start=start, end=end, before=quiet, names=ONLY, with_bins=False)
    return _alarms(found, start, end)


def _alarms(days: DriftDays, start: int, end: int) -> NDArray[np.bool_]:
    return np.array([days.is_moved(day, SCORE) for day in range(start, end)])


def summary_of_scores(worlds: Sequence[Scored]) -> dict[str, Any]:
    """Days and confirmed episodes of alarm in 30 days without a change; of each change the share of its days in alarm."""
    return {
        "worlds": len(worlds),
        "alarm_days_in_30": round(float(np.mean([world.quiet.sum() for world in worlds])), 2),
        "confirmed_episodes_in_30_days": round(float(np.mean([episodes(world.confirmed) for world in worlds])), 3),
        "changes": {name: _told([world.changed[name] for world in worlds]) for name in CHANGES},
    }


def _told(alarms: Sequence[NDArray[np.bool_]]) -> dict[str, float]:
    days = np.array(alarms)
    return {
        "first_day": round(float(days[:, 0].mean()), 3),
        "within_two_days": round(float(days[:, :2].any(axis=1).mean()), 3),
        "days_in_alarm": round(float(days.mean()), 3),
    }


def write_scores(results: Mapping[str, Any], out: Path) -> None:
    """`scores.json`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "scores.json").write_text(json.dumps(results, indent=2, sort_keys=True) + "\n")


def print_scores(results: Mapping[str, Any], console: Console) -> None:
    """What is wrong in quiet days, then of each change the share of worlds in alarm."""
    for rows, one in results.items():
        table = Table(
            f"{int(rows):,} rows a day, {one['worlds']} worlds", "first day", "within two", "of its days", box=None
        )
        for name, told in one["changes"].items():
            table.add_row(name, *(f"{100 * share:.0f} %" for share in told.values()))
        console.print(table)
        false = f"{one['alarm_days_in_30']} days in alarm, {one['confirmed_episodes_in_30_days']} confirmed episodes"
        console.print(f"in 30 days without a change: {false}", highlight=False)
