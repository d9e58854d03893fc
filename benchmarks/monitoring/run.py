"""Worlds without a fault, and the same worlds with one: who alarms when it should not, and how soon when it should."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.monitoring.detectors import Ours, ready_made
from benchmarks.monitoring.traffic import (
    DAYS,
    FIRST_HISTORY,
    FIRST_JUDGED,
    Traffic,
    joined,
    lose_clicks,
    lose_values,
    make_world,
    shift_category,
    shift_price,
)
from monitoring.config import CalibrationConfig, DriftConfig

SCENARIO_DAYS = 10
SCENARIOS: Mapping[str, Callable[[Traffic, np.random.Generator], Traffic]] = {
    "category_x3": shift_category,
    "price_x1.2": shift_price,
    "nulls_+20pp": lose_values,
    "segment_clicks_x0.8": lose_clicks,
}
KINDS = {"nulls_+20pp": "nulls", "segment_clicks_x0.8": "calibration"}
"""Our check that is to find a scenario; drift finds the others."""
GOAL_DAYS = {"category_x3": 2, "price_x1.2": 2, "nulls_+20pp": 1, "segment_clicks_x0.8": 3}
GOAL_EPISODES = 0.3
READY_MADE = ("evidently_any_column", "evidently_share_of_columns", "ks_chi_square", "ks_chi_square_holm")
DETECTORS = ("ours", *READY_MADE)


@dataclass(frozen=True)
class Judged:
    """One world.

    Attributes:
        quiet: Detector to its alarms on the judged days without a fault, shape (30,).
        parts: Our alarms on these days by their kind.
        delays: Scenario to detector to the days until the first alarm, 1 is the first day; None where there was none, and
            where the detector alarmed on the day before already: nobody would have noticed.
    """

    quiet: Mapping[str, NDArray[np.bool_]]
    parts: Mapping[str, NDArray[np.bool_]]
    delays: Mapping[str, Mapping[str, int | None]]


def judge_world(lines: pd.DataFrame, *, seed: int, rows_per_day: int) -> Judged:
    """A world without a fault, and with each scenario from another weekday on."""
    world = make_world(lines, seed=seed, rows_per_day=rows_per_day)
    ours = Ours(world, DriftConfig(), CalibrationConfig(), seed=seed)
    drift = ours.drifted(world)
    parts = {
        "drift": drift.confirmed(FIRST_JUDGED, DAYS),
        "nulls": ours.lost_values(world, FIRST_JUDGED, DAYS),
        "calibration": ours.miscalibrated(world, FIRST_JUDGED, DAYS),
    }
    reference = world.of_days(0, FIRST_HISTORY)
    quiet = {"ours": np.logical_or.reduce(list(parts.values())), **_others(world, reference, FIRST_JUDGED, DAYS, seed)}
    start = FIRST_JUDGED + 7 + seed % 7
    delays = {}
    for name, change in SCENARIOS.items():
        kind, rng = KINDS.get(name, "drift"), np.random.default_rng((seed, start))
        end = start + SCENARIO_DAYS
        faulty = joined(world.of_days(0, start), change(world.of_days(start, end), rng))
        if kind == "calibration":
            alarms = ours.miscalibrated(faulty, start, end)
        elif kind == "nulls":
            alarms = ours.lost_values(faulty, start, end)
        else:
            alarms = ours.drifted(faulty, start=start, end=end, before=drift).confirmed(start, end)
        others = _others(faulty, reference, start, end, seed)
        before = {one: bool(found[start - 1 - FIRST_JUDGED]) for one, found in {**quiet, "ours": parts[kind]}.items()}
        delays[name] = {
            one: None if before[one] else _first(found) for one, found in {"ours": alarms, **others}.items()
        }
    return Judged(quiet, parts, delays)


def summary(worlds: Sequence[Judged]) -> dict[str, object]:
    """Episodes in 30 days, days with an alarm, and of each scenario the days until it is found."""
    scenarios = {}
    for name in SCENARIOS:
        goal = GOAL_DAYS[name]
        scenarios[name] = {
            detector: _delays([world.delays[name][detector] for world in worlds], goal) for detector in DETECTORS
        }
    return {
        "worlds": len(worlds),
        "episodes_in_30_days": {one: round(_mean(worlds, one, episodes), 3) for one in DETECTORS},
        "alarm_days_in_30": {one: round(_mean(worlds, one, lambda alarms: int(alarms.sum())), 2) for one in DETECTORS},
        "ours_by_kind": {
            kind: round(float(np.mean([episodes(world.parts[kind]) for world in worlds])), 3)
            for kind in worlds[0].parts
        },
        "scenarios": scenarios,
    }


def episodes(alarms: NDArray[np.bool_]) -> int:
    """Runs of days with an alarm."""
    return int((np.diff(np.concatenate([[0], alarms.astype(int)])) == 1).sum())


def _mean(worlds: Sequence[Judged], detector: str, of: Callable[[NDArray[np.bool_]], int]) -> float:
    return float(np.mean([of(world.quiet[detector]) for world in worlds]))


def _delays(found: Sequence[int | None], goal: int) -> dict[str, object]:
    days = sorted(delay for delay in found if delay is not None)
    return {
        "goal_days": goal,
        "found_in_goal": round(sum(delay <= goal for delay in days) / len(found), 3),
        "found": round(len(days) / len(found), 3),
        "median_days": float(np.median(days)) if days else None,
        "worst_days": max(days, default=None) if len(days) == len(found) else None,
    }


def _others(world: Traffic, reference: Traffic, start: int, end: int, seed: int) -> dict[str, NDArray[np.bool_]]:
    rng = np.random.default_rng((seed, start, 1))
    found = [ready_made(world, day, reference, rng) for day in range(start, end)]
    return {name: np.array([one[name] for one in found]) for name in READY_MADE}


def _first(alarms: NDArray[np.bool_]) -> int | None:
    places = np.flatnonzero(alarms)
    return int(places[0]) + 1 if len(places) else None
