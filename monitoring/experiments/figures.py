"""From the logs to the figures that a verdict is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from components.artifacts.feedback import read_feedback
from feature_repo.schema import EVENT_TIMESTAMP, ITEM_ID, USER_ID
from monitoring.experiments.config import ExperimentConfig
from monitoring.experiments.dark import dark_guardrails, dark_readings
from monitoring.experiments.effects import Effect, effect_of
from monitoring.experiments.guardrails import Guardrail, Share, slow_answers
from monitoring.experiments.metrics import Logs, Span, UserValues, assigned_users, of_step, user_values
from monitoring.experiments.moments import Moments
from monitoring.experiments.planning import question_of, users_needed
from monitoring.experiments.verdict import Figures, Reading, is_comparable
from serving.api.assignment import CANARY, STABLE
from serving.exposures import read_exposures
from serving.prediction_log import read_impressions
from serving.shadows import read_shadows

ACTIVITY = "user_interactions_90d"
SHOWN = ["query_id", USER_ID, ITEM_ID, "score", "user_status", "store_id", ACTIVITY, EVENT_TIMESTAMP]
FIRST_FAULT = 500
LEAST_NEWS = 0.02
"""Information that a look must bring over the last one: looks at the same users would cost alpha for nothing."""


@dataclass(frozen=True)
class Place:
    """Where a rollout stands: its step, the looks at the last step before this one, and its planned users, if known."""

    step: int
    looks: Sequence[float] = ()
    planned_users: int | None = None


def read_logs(home: Path, span: Span) -> Logs:
    """All that a look at a span needs."""
    start = span.started - timedelta(days=span.pre_days)
    return Logs(
        read_exposures(home, span.started, span.now),
        read_impressions(home, start, span.now, columns=SHOWN),
        read_feedback(home, start, span.now),
        read_shadows(home, span.started, span.now),
    )


def figures_of(
    logs: Logs, span: Span, place: Place, config: ExperimentConfig, *, readings: Sequence[Reading] = ()
) -> Figures:
    """The figures of a step.

    Args:
        logs: Of `read_logs`.
        span: Experiment, step and now.
        place: Of the rollout.
        config: How it is judged.
        readings: That are not in the logs: the age of the canary's features.
    """
    metric = config.metrics[config.primary]
    closed = user_values(logs, metric, span, config)
    early = user_values(logs, metric, span, config, window_hours=min(config.harm_hours, metric.window_hours))
    assigned = assigned_users(logs, span)
    hours = (span.now - span.since) / timedelta(hours=1)
    effect = arms_effect(closed)
    is_last, is_dark = place.step == len(config.steps) - 1, config.steps[place.step] == 0
    planned = (place.planned_users or _planned(closed, config)) if is_last else None
    return Figures(
        step=place.step,
        hours=hours,
        assigned=(assigned.get(STABLE, 0), assigned.get(CANARY, 0)),
        effect=effect,
        early=arms_effect(early),
        observed=len(early.of_arm(CANARY)),
        looks=_looks(place, effect, planned, hours, config) if is_last else (),
        guardrails=(dark_guardrails if is_dark else _guardrails)(logs, span, config),
        readings=[*readings, *(dark_readings if is_dark else _coverage)(logs, span, config)],
        planned_users=planned or 0,
    )


def arms_effect(found: UserValues) -> Effect | None:
    """Canary less champion, by a cautious variance; None before there are two users in each arm."""
    arms = [found.of_arm(arm) for arm in (STABLE, CANARY)]
    if min(len(arm) for arm in arms) < 2:
        return None
    control, treatment = (Moments.of_users(arm) for arm in arms)
    return effect_of(control, treatment, is_cautious=True)


def _planned(found: UserValues, config: ExperimentConfig) -> int | None:
    """By the champion's users alone, so that the plan does not follow the difference; None until they are enough."""
    users = found.of_arm(STABLE)
    if len(users) < config.step_users or not users[:, 0].any():
        return None
    question = question_of(Moments.of_users(users), lift=config.lift, alpha=config.alpha, power=config.power)
    return users_needed(question)


def _looks(
    place: Place, effect: Effect | None, planned: int | None, hours: float, config: ExperimentConfig
) -> tuple[float, ...]:
    """With this look, if the time has come for looks and it brings news."""
    if effect is None or planned is None or hours < 24 * config.least_days:
        return ()
    information = min(1.0, float(effect.users) / planned)
    last = place.looks[-1] if place.looks else 0.0
    if last < information and (information >= last + LEAST_NEWS or information == 1.0):
        return (*place.looks, information)
    return ()


def _guardrails(logs: Logs, span: Span, config: ExperimentConfig) -> list[Guardrail]:
    rows = of_step(logs.exposures, span)
    lists = _shown(logs, rows).groupby(["arm", "query_id"])["score"].agg(["min", "max", "size"]).reset_index()
    lists = lists[lists["size"] > 1]
    found = [
        ("errors", rows["arm"], rows["status"] >= FIRST_FAULT, config.error_tolerance),
        ("fallbacks", rows["arm"], ~rows["is_own"], config.fallback_tolerance),
        ("lists of one score", lists["arm"], lists["min"] == lists["max"], config.flat_tolerance),
    ]
    stable, canary = (rows.loc[rows["arm"] == arm, "seconds"] for arm in (STABLE, CANARY))
    return [*(_guardrail(*one, config) for one in found), slow_answers(stable, canary, config)]


def _guardrail(
    name: str, arms: "pd.Series[str]", is_bad: "pd.Series[bool]", tolerance: float, config: ExperimentConfig
) -> Guardrail:
    stable, canary = (Share(int(is_bad[arms == arm].sum()), int((arms == arm).sum())) for arm in (STABLE, CANARY))
    return Guardrail(name, stable, canary, tolerance, config.guardrail_alpha)


def _coverage(logs: Logs, span: Span, config: ExperimentConfig) -> list[Reading]:
    """Different items among as many shown ones of each arm: more lists would show more items."""
    shown = _shown(logs, of_step(logs.exposures, span)).sort_values([EVENT_TIMESTAMP, "query_id"], kind="stable")
    items = {arm: shown.loc[shown["arm"] == arm, ITEM_ID] for arm in (STABLE, CANARY)}
    size = min(len(one) for one in items.values())
    if size < config.coverage_items:
        return []
    stable, canary = (items[arm].iloc[:size].nunique() for arm in (STABLE, CANARY))
    return [Reading("loss of coverage", max(0.0, 1 - canary / stable), config.coverage_loss)]


def _shown(logs: Logs, rows: pd.DataFrame) -> pd.DataFrame:
    """What the arms' own servers showed at the step."""
    answered = rows.loc[rows["is_own"] & rows["query_id"].notna(), ["query_id", "arm"]].drop_duplicates("query_id")
    shown: pd.DataFrame = logs.impressions.to_pandas().merge(answered, on="query_id")
    return shown


def told(figures: Figures, config: ExperimentConfig) -> dict[str, float | int | str | None]:
    """For the audit: the figures by name, plain numbers; no result of arms that are not comparable."""
    effect = figures.effect if is_comparable(figures, config) else None
    return {
        "hours": round(figures.hours, 2),
        "users_stable": figures.assigned[0],
        "users_canary": figures.assigned[1],
        "observed": figures.observed,
        "difference": None if effect is None else float(effect.difference),
        "z": None if effect is None else float(effect.z),
        "baseline": None if effect is None else float(effect.baseline),
        "information": figures.looks[-1] if figures.looks else None,
        **{f"{one.name} canary": one.canary.bad / max(1, one.canary.requests) for one in figures.guardrails},
        **{reading.name: float(np.round(reading.value, 6)) for reading in figures.readings},
    }
