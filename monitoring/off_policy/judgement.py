"""What off-policy evaluation says of a candidate, as a value that goes to JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from components.ranking.bootstrap import Interval
from monitoring.config import OffPolicyConfig
from monitoring.off_policy.estimators import DR, ESTIMATORS, MEAN_WEIGHT, Estimates, WeightFacts
from monitoring.verdict import moment, percent

FORMAT_VERSION = 1
CANDIDATE, BASELINE = "candidate", "baseline"
"""The bundle that is judged, and the one that served, both without a draw."""


class Decision(StrEnum):
    """What the logs say of the candidate."""

    BETTER = "BETTER"
    WORSE = "WORSE"
    NO_DIFFERENCE = "NO_DIFFERENCE"
    INSUFFICIENT = "INSUFFICIENT"  # the logs are no evidence: nothing is decided


EXIT_CODES = {Decision.BETTER: 0, Decision.NO_DIFFERENCE: 0, Decision.WORSE: 3, Decision.INSUFFICIENT: 5}


@dataclass(frozen=True, slots=True)
class Judgement:
    """The result.

    Attributes:
        candidate: Bundle that is judged.
        logged: Bundle that served.
        start: First day.
        end: Day after the last.
        lists: Judged lists.
        users: Their users.
        left_out: Lists that are shorter than k positions, or whose horizon is not over.
        fidelity: Share of the logged lists that came out again; None where nothing was judged.
        mean: Reward of the lists as they were shown.
        values: Policy, estimator to value.
        differences: Estimator to candidate less baseline.
        weights: Policy to what its weights leave.
        decision: By DR's difference, if the logs are evidence.
        sentence: Why, for people.
    """

    candidate: str
    logged: str
    start: datetime
    end: datetime
    lists: int
    users: int
    left_out: int
    fidelity: float | None
    mean: Interval | None
    values: Mapping[str, Mapping[str, Interval]]
    differences: Mapping[str, Interval]
    weights: Mapping[str, WeightFacts]
    decision: Decision
    sentence: str

    @property
    def exit_code(self) -> int:
        """Of the command."""
        return EXIT_CODES[self.decision]

    def to_json(self) -> str:
        """Indented, sorted keys; NaN is null."""
        content = {
            **{name: getattr(self, name) for name in ("candidate", "logged", "lists", "users", "left_out", "fidelity")},
            "format_version": FORMAT_VERSION,
            "start": moment(self.start),
            "end": moment(self.end),
            "decision": self.decision,
            "sentence": self.sentence,
            "mean": self.mean.to_dict() if self.mean else None,
            "values": {name: _intervals(values) for name, values in self.values.items()},
            "differences": _intervals(self.differences),
            "weights": {name: asdict(facts) for name, facts in self.weights.items()},
        }
        return json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n"

    def write(self, path: Path) -> None:
        """As JSON; a reader sees the old file or the new one."""
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(self.to_json(), encoding="utf-8")
        unfinished.replace(path)


def decide(estimates: Estimates, fidelity: float, config: OffPolicyConfig) -> tuple[Decision, str]:
    """The decision with its sentence. Evidence comes first: a wide or biased estimate is no decision at all."""
    problems = [*_infidelity(fidelity, config), *_too_little(estimates, config)]
    difference = estimates.difference(CANDIDATE, BASELINE, DR)
    if problems:
        return Decision.INSUFFICIENT, f"no decision: {'; '.join(problems)}"
    span = f"{difference.mean:+.4f} ({difference.low:+.4f} to {difference.high:+.4f})"
    if difference.low > 0:
        return Decision.BETTER, f"the candidate earns more: difference {span}"
    if difference.high < 0:
        return Decision.WORSE, f"the candidate earns less: difference {span}"
    return Decision.NO_DIFFERENCE, f"the interval of the difference holds 0: {span}"


def values_of(estimates: Estimates) -> dict[str, dict[str, Interval]]:
    """Policy to estimator to interval."""
    names = (*ESTIMATORS, MEAN_WEIGHT)
    return {policy: {name: estimates.interval(policy, name) for name in names} for policy in (CANDIDATE, BASELINE)}


def _infidelity(fidelity: float, config: OffPolicyConfig) -> list[str]:
    if fidelity >= config.min_fidelity:
        return []
    return [
        f"{percent(fidelity)} of the logged lists come out again when asked anew, {percent(config.min_fidelity)} are "
        "needed: the features, the bundle or the rules are not those that served"
    ]


def _too_little(estimates: Estimates, config: OffPolicyConfig) -> Sequence[str]:
    """Each policy's problems with its weights."""
    problems = []
    for policy in (CANDIDATE, BASELINE):
        facts, mean_weight = estimates.weights[policy], estimates.interval(policy, MEAN_WEIGHT)
        if facts.effective_lists < config.min_effective_lists:
            problems.append(
                f"the {policy}'s weights leave {facts.effective_lists:,.0f} effective lists, "
                f"{config.min_effective_lists:,.0f} are needed"
            )
        if facts.largest_share > config.max_weight_share:
            problems.append(
                f"one list holds {percent(facts.largest_share)} of the {policy}'s weights, "
                f"at most {percent(config.max_weight_share)} are allowed"
            )
        if mean_weight.high < 1 - config.max_unsupported:
            problems.append(
                f"about {percent(1 - mean_weight.mean)} of what the {policy} would show was never shown where it would, "
                f"at most {percent(config.max_unsupported)} are allowed: explore more, or deeper"
            )
    return problems


def _intervals(values: Mapping[str, Interval]) -> dict[str, dict[str, float | None]]:
    return {name: interval.to_dict() for name, interval in values.items()}
