"""The demo's rollouts: what a shop that trusts the verdict alone would have done with four candidates."""

import shutil
from datetime import datetime
from pathlib import Path

from monitoring.experiments.config import ExperimentConfig
from pipelines.known_candidates import popular_only, the_same, unchanged, upside_down, wasteful
from pipelines.rollouts import experiment_config
from pipelines.trials import Ended, Trial, days_of, run_trial, shop

TRIALS = (
    Trial(
        "better",
        "the trained bundle, after a champion that knows only what is popular",
        popular_only,
        unchanged,
        "promote",
    ),
    Trial("equal", "the champion's own models once more", unchanged, the_same, "stop"),
    Trial("slow", "ranks nearly all items for each request", unchanged, wasteful, "rollback"),
    Trial("worse", "ranks the worst candidate first", unchanged, upside_down, "rollback"),
)
DAYS = {"better": 7, "equal": 7, "slow": 3, "worse": 3}
"""At most, of each rollout; they follow each other, so no household's future is known to a server."""
HOUSEHOLDS = {"better": 1_250, "equal": 500, "slow": 500, "worse": 500}
"""That visit the shop meanwhile: a real difference needs more of them than a broken candidate does."""
ALL_HOUSEHOLDS = 2_469
LEFT_OUT = (
    "artifacts",
    "kfp_cache",
    "runs",
    "logs",
    "run",
    "monitoring",
    "offline",
    "replay",
    "tuning",
    "shop",
    "rollouts",
    "experiments*",
)
"""Of the demo's state folder: what a shop of its own does without."""


def shop_home(home: Path) -> Path:
    """A state folder of its own in the demo's, with its champion and its users as they are at the moment."""
    folder = home / "shop"
    shutil.rmtree(folder, ignore_errors=True)
    return Path(shutil.copytree(home, folder, ignore=shutil.ignore_patterns(*LEFT_OUT)))


def demo_rollouts(home: Path, model: str, events: Path, start: datetime, *, sample: float) -> list[Ended]:
    """Roll the four out, one after the other.

    Args:
        home: Of `shop_home`.
        model: Registered model.
        events: Canonical tables that hold the days from `start` on.
        start: Midnight of the first day.
        sample: Share of the households that the demo runs with.

    Raises:
        RecsysError: A server did not start, or refused a request.
    """
    done: list[Ended] = []
    with shop(home, model, rollout_config()) as running:
        for trial in TRIALS:
            share = min(1.0, HOUSEHOLDS[trial.name] / (ALL_HOUSEHOLDS * sample))
            ended = run_trial(running, trial, days_of(events, start, DAYS[trial.name], share=share))
            start = ended.until
            done.append(ended)
    return done


def rollout_config() -> ExperimentConfig:
    """A quick one, for a few hundred households in a week; a click is an item that was bought on the visit."""
    return experiment_config(
        {
            "click_types": ["purchase"],
            "cart_types": [],
            "steps": [0.0, 0.5],
            "step_users": 25,
            "guardrail_requests": 10,
            "slow_seconds": 0.04,
            "least_days": 5,
            "longest_days": 6,
            "lift": 0.3,
            "pre_days": 0,
            "feature_hours": 24 * 28,
            "least_overlap": 0.0,  # its lists would betray the worse one in the dark, and no household would meet it
        }
    )
