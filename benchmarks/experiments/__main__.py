"""python -m benchmarks.experiments: what the statistics of experiments promise, by simulation; a quarter of an hour."""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.experiments.errors import ALWAYS, PEEKED, SEQUENTIAL, planned_power, rejections, sample_ratio_alarms
from benchmarks.experiments.rollouts import ALL, Canary, Copying, rollout, summary
from benchmarks.experiments.shop import Shop
from monitoring.experiments.charts import Line, line_chart
from monitoring.experiments.config import ExperimentConfig

HERE = Path(__file__).parent
RESULTS = "results.json"
USERS_PER_DAY = 2_000
"""Of both arms: a thousand each at the last step."""
LOOKS, PER_LOOK = 28, 500
CANARIES = {
    "+10 % CTR": Canary(lift=0.1),
    "equal": Canary(),
    "-20 % CTR": Canary(lift=-0.2),
    "2 % errors": Canary(errors=0.02),
    "7 % of its users lost": Canary(lost=0.07),
}
COPYING = {
    "all copied": ALL,
    "a tenth copied": Copying(share=0.1),
    "the first 5,000, then a tenth": Copying(first=5_000, share=0.1),
}
"""The last is the door's own default."""


def main() -> None:
    """Measure, print, write `results.json` and `peeking.svg`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experiments", description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="rollouts of each kind")
    parser.add_argument("--experiments", type=int, default=2_000, help="experiments for each rate of error")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to")
    parser.add_argument("--dark", action="store_true", help="measure the dark step alone, and keep the other results")
    given = parser.parse_args()
    if given.dark:
        _write(given.out, json.loads((given.out / RESULTS).read_text()) | {"dark": _dark(given.runs)})
        return
    curves = rejections(Shop(), looks=LOOKS, per_look=PER_LOOK, lift=0.0, runs=given.experiments, seed=1)
    facts = {
        "shop": {"click_rate": 0.05, "items_shown_in_the_first_hour": 20, "users_per_day": USERS_PER_DAY},
        "experiments": given.experiments,
        "runs": given.runs,
        "false_positives": _told(
            "A/A, 28 daily looks: ever a difference", {k: float(v[-1]) for k, v in curves.items()}
        ),
        "sample_ratio": _sample_ratio(given.experiments),
        "power": _power(given.experiments // 2),
        "rollouts": _rollouts(given.runs),
        "harm_at_equal_shares": _harm(given.runs),
        "dark": _dark(given.runs),
    }
    _write(given.out, facts)
    shown = {name: Line(range(1, LOOKS + 1), curves[name].tolist()) for name in (PEEKED, SEQUENTIAL, ALWAYS)}
    title = "A/A experiments in which a difference was ever found"
    (given.out / "peeking.svg").write_text(
        line_chart(shown, x_label="daily looks", y_label=title, reference=0.05) + "\n"
    )


def _write(out: Path, facts: dict[str, Any]) -> None:
    (out / RESULTS).write_text(json.dumps(facts, indent=1) + "\n")


def _dark(runs: int) -> dict[str, Any]:
    """Failing candidates by what the door copies to them: how many are taken back before any user meets them, and when."""
    config, found = ExperimentConfig(), {}
    for errors in (0.02, 0.1):
        for name, copying in COPYING.items():
            canary = Canary(errors=errors)
            outcomes = [
                rollout(Shop(), canary, config, users_per_day=USERS_PER_DAY, seed=seed, copying=copying)
                for seed in range(runs)
            ]
            title = f"{errors:.0%} errors, {name}"
            found[title] = _told(title, summary(outcomes))
    return found


def _sample_ratio(experiments: int) -> dict[str, Any]:
    return {
        f"{lost:.0%} lost": _told(
            f"sample ratio, {lost:.0%} of the canary's users lost: alarms",
            sample_ratio_alarms(lost=lost, looks=LOOKS, per_look=PER_LOOK, runs=experiments, seed=2),
        )
        for lost in (0.0, 0.03, 0.05, 0.07, 0.1)
    }


def _power(experiments: int) -> list[dict[str, float]]:
    return [
        _told("power", planned_power(Shop(), lift=lift, power=power, looks=LOOKS, runs=experiments, seed=3))
        for lift in (0.05, 0.1)
        for power in (0.8, 0.9)
    ]


def _rollouts(runs: int) -> dict[str, Any]:
    config = ExperimentConfig()
    return {
        name: _told(
            name,
            summary([rollout(Shop(), canary, config, users_per_day=USERS_PER_DAY, seed=seed) for seed in range(runs)]),
        )
        for name, canary in CANARIES.items()
    }


def _harm(runs: int) -> dict[str, Any]:
    """The -20 % canary at 50 % from the start, for users that see more and fewer items."""
    config = ExperimentConfig(steps=(0.5,))
    found = {}
    for items in (5, 10, 20, 40):
        shop, canary = Shop(items=items), Canary(lift=-0.2)
        outcomes = [rollout(shop, canary, config, users_per_day=USERS_PER_DAY, seed=seed) for seed in range(runs)]
        early = sum(outcome.action == "rollback" and outcome.hours <= 48 for outcome in outcomes)
        name = f"{items} items shown"
        found[name] = _told(f"-20 % CTR, {name}", {"within two days": early, **summary(outcomes)})
    return found


def _told(title: str, facts: dict[str, Any]) -> dict[str, Any]:
    print(title, json.dumps(facts), flush=True)
    return facts


if __name__ == "__main__":
    main()
