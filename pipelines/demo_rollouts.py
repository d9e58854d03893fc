"""The demo's rollouts: what a shop that trusts the verdict alone would have done with five candidates."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from components.artifacts.cuts import stamp
from feature_repo.sources import OFFLINE
from feature_repo.store import apply
from monitoring.experiments.config import ExperimentConfig
from pipelines.known_candidates import popular_only, the_same, unchanged, upside_down, wasteful
from pipelines.rollouts import experiment_config
from pipelines.trials import DAY, Ended, Trial, days_of, end_candidate, open_shop, run_trial, shop

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
    Trial("failing", "its server ends after the first visit", unchanged, the_same, "rollback", end_candidate),
    Trial(
        "worse",
        "ranks the worst candidate first",
        unchanged,
        upside_down,
        "rollback",
        force="to see whether the rollout finds by itself what the gate knew",
    ),
)
DAYS = {"better": 7, "equal": 7, "slow": 2, "failing": 1, "worse": 3}
"""At most, of each rollout; they follow each other, so no household's future is known to a server."""
HOUSEHOLDS = {"better": 1_250, "equal": 500, "slow": 1_000, "failing": 500, "worse": 500}
"""That visit the shop meanwhile: a real difference needs more of them than a broken candidate does, and of a slow one two copies
are on their way at most, so it sees a third of the requests.
"""
ALL_HOUSEHOLDS = 2_469
APART: Mapping[str, Mapping[str, float]] = {
    # The champion before it ranks 60 candidates where it ranks some 500 and takes two and a half times as long: that may be.
    "better": {"slow_ratio": 10.0},
    # A list with the worst first holds nothing of the champion's, so the copies would betray it in the dark and no household
    # would meet it. The demo is to show the last line of defence too: harm that is found in what users do.
    "worse": {"least_overlap": 0.0},
}
"""How a trial is judged otherwise than the rest, and why."""
LEFT_OUT = (
    "artifacts",
    "kfp_cache",
    "runs",
    "logs",
    "run",
    "monitoring",
    "replay",
    "tuning",
    "shop",
    "rollouts",
    "experiments*",
)
"""Of the demo's state folder: what a shop of its own does without."""


def shop_home(home: Path, now: datetime) -> Path:
    """A state folder of its own in the demo's, with its champion and its users as they are at the moment.

    Args:
        home: The demo's.
        now: Snapshots of features that are later stay out.
    """
    folder = home / "shop"
    shutil.rmtree(folder, ignore_errors=True)
    later = [path.name for path in (home / OFFLINE).glob("*/*.parquet") if path.stem > stamp(now)]
    shutil.copytree(home, folder, ignore=shutil.ignore_patterns(*LEFT_OUT, *later))
    apply(folder)  # the copy's feature store names the snapshots of the folder that it was copied from
    return folder


def demo_rollouts(
    home: Path, model: str, events: Path, start: datetime, *, sample: float, note: Callable[[str], None]
) -> list[Ended]:
    """Open the shop for a day, then roll the candidates out, one after the other.

    Args:
        home: Of `shop_home`.
        model: Registered model.
        events: Canonical tables that hold the days from `start` on.
        start: Midnight of the first day.
        sample: Share of the households that the demo runs with.
        note: Told what is found.

    Raises:
        RecsysError: A server did not start, the gate refused a candidate that should pass, or a request was refused.
    """
    shares = {name: min(1.0, count / (ALL_HOUSEHOLDS * sample)) for name, count in HOUSEHOLDS.items()}
    done: list[Ended] = []
    with shop(home, model, rollout_config()) as opened:
        for day in days_of(events, start, 1, share=max(shares.values())):
            note(
                f"the champion alone, for a day, so that its questions can be asked again: {open_shop(opened, *day).sentence}"
            )
        start += DAY
        for trial in TRIALS:
            running = replace(opened, config=opened.config.model_copy(update=APART.get(trial.name, {})))
            ended = run_trial(running, trial, days_of(events, start, DAYS[trial.name], share=shares[trial.name]))
            start = ended.until
            done.append(ended)
            for check in ended.checks:
                note(f"{trial.name}: {check}")
            note(f"{trial.name} ({trial.about}): {ended.sentence}")
    return done


def rollout_config() -> ExperimentConfig:
    """A quick one, for a few hundred households in a week; a click is an item that was bought on the visit.

    What is slow on this machine nobody knows beforehand, so only what the champion takes meanwhile counts.
    """
    return experiment_config(
        {
            "click_types": ["purchase"],
            "cart_types": [],
            "steps": [0.0, 0.5],
            "step_users": 25,
            "guardrail_requests": 25,  # fewer leave the champion's median so open that nothing could be called slow
            "slow_seconds": 0.001,
            "least_days": 5,
            "longest_days": 6,
            "lift": 0.3,
            "pre_days": 0,
            "feature_hours": 24 * 28,
        }
    )
