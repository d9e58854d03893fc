"""The promises of an experiment's statistics, small; `python -m benchmarks.experiments` has them at full size."""

import numpy as np
import pytest

from benchmarks.experiments.errors import ALWAYS, PEEKED, SEQUENTIAL, planned_power, rejections, sample_ratio_alarms
from benchmarks.experiments.rollouts import Canary, Copying, rollout
from benchmarks.experiments.shop import Shop
from monitoring.experiments.config import ExperimentConfig
from monitoring.experiments.verdict import Action

FIVE_PER_CENT_OF_300 = 0.05 + 3 * (0.05 * 0.95 / 300) ** 0.5
HALF = ExperimentConfig(steps=(0.5,), lift=0.1)


def test_daily_looks_keep_the_error_and_peeking_does_not():
    found = rejections(Shop(), looks=14, per_look=100, lift=0.0, runs=300, seed=1)
    ends = {name: curve[-1] for name, curve in found.items()}
    assert ends[PEEKED] > 0.15
    assert ends[SEQUENTIAL] <= FIVE_PER_CENT_OF_300
    assert ends[f"{SEQUENTIAL}, CUPED"] <= FIVE_PER_CENT_OF_300
    assert ends[ALWAYS] <= 0.05


def test_an_experiment_of_the_planned_size_has_the_planned_power():
    found = planned_power(Shop(), lift=0.2, power=0.8, looks=14, runs=300, seed=2)
    assert found["power"] == pytest.approx(0.8, rel=0.1)


def test_lost_users_raise_the_alarm_and_chance_does_not():
    (_, sound), (_, losing) = (
        sample_ratio_alarms(lost=lost, looks=28, per_look=500, runs=300, seed=3).items() for lost in (0.0, 0.1)
    )
    assert sound[1] <= 0.01
    assert losing[1] == 1


@pytest.mark.parametrize(
    ("canary", "action"),
    [
        (Canary(lift=-0.2), Action.ROLLBACK),
        (Canary(errors=0.05), Action.ROLLBACK),
        (Canary(lost=0.15), Action.INVALID),
        (Canary(lift=0.15), Action.PROMOTE),
    ],
)
def test_rollouts_end_as_they_should(canary, action):
    outcome = rollout(Shop(), canary, HALF, users_per_day=2_000, seed=4)
    assert outcome.action == action
    assert outcome.hours <= (48 if action == Action.ROLLBACK else 15 * 24)


def test_door_of_the_simulation_copies_the_first_and_then_a_share():
    rng = np.random.default_rng(0)
    assert Copying(first=10, share=0.0).copies(6, 8, rng) == 2
    assert Copying(first=10, share=0.0).copies(6, 11, rng) == 0
    assert Copying(first=10, share=1.0).copies(6, 8, rng) == 6
    assert Copying().copies(6, 100, rng) == 6  # all, where nothing is said
