"""Whether a bundle may be deployed."""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

from components.artifacts.errors import ConfigError
from components.evaluate_bundle.config import CHAMPION, POPULARITY, TWO_STAGE, EvaluationConfig, GateConfig
from components.evaluate_bundle.evaluation import Evaluation
from components.ranking.metrics import METRICS, metric_label


@dataclass(frozen=True, slots=True)
class GateCheck:
    """One condition: its name, whether it holds, and why in words."""

    name: str
    passed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Gate:
    """The verdict."""

    checks: tuple[GateCheck, ...]

    @property
    def passed(self) -> bool:
        """Whether every condition holds."""
        return all(check.passed for check in self.checks)

    @property
    def sentence(self) -> str:
        """All reasons, the failed ones first."""
        return "; ".join(check.reason for check in sorted(self.checks, key=lambda check: check.passed))

    def to_dict(self) -> dict[str, Any]:
        """For evaluation.json."""
        return {"passed": self.passed, "sentence": self.sentence, "checks": [asdict(check) for check in self.checks]}


def decide_gate(evaluation: Evaluation, config: GateConfig) -> Gate:
    """Better than popularity with the whole interval, not surely worse than the champion, on enough queries.

    Raises:
        ConfigError: The metric was not measured.
    """
    _require(config.metric, evaluation.systems[TWO_STAGE])
    return Gate(
        (
            _enough(evaluation, config),
            _beats_popularity(evaluation, config),
            _holds_against_champion(evaluation, config),
        )
    )


def check_metric(config: GateConfig, evaluation: EvaluationConfig) -> None:
    """Before anything is measured: whether the gate's metric will be.

    Raises:
        ConfigError: It will not.
    """
    _require(config.metric, [f"{name}_at_{k}" for name in METRICS for k in evaluation.ks])


def _require(metric: str, measured: Collection[str]) -> None:
    if metric not in measured:
        raise ConfigError(
            f"gate.metric: {metric} is not measured; there are {', '.join(sorted(measured))}. "
            "Name one of them, or add its cut-off to evaluation.ks."
        )


def _enough(evaluation: Evaluation, config: GateConfig) -> GateCheck:
    enough = evaluation.queries >= config.min_queries
    return GateCheck(
        "enough_queries",
        enough,
        f"{evaluation.queries:,} queries {'are' if enough else 'are under the'} "
        f"{'enough' if enough else f'{config.min_queries:,} that a verdict needs'}",
    )


def _beats_popularity(evaluation: Evaluation, config: GateConfig) -> GateCheck:
    ours, theirs = (evaluation.systems[name][config.metric].mean for name in (TWO_STAGE, POPULARITY))
    gap = evaluation.differences[POPULARITY][config.metric]
    passed = gap.low > 0
    return GateCheck(
        "beats_popularity",
        passed,
        f"{metric_label(config.metric)} {ours:.4f} {'beats' if passed else 'does not surely beat'} popularity's {theirs:.4f} "
        f"(difference {gap.mean:+.4f}, interval {gap.low:+.4f} to {gap.high:+.4f})",
    )


def _holds_against_champion(evaluation: Evaluation, config: GateConfig) -> GateCheck:
    """Holds too where there is nothing to compare with; the reason says so, so that nobody takes it for a victory."""
    if CHAMPION not in evaluation.systems:
        return GateCheck("holds_against_champion", True, f"champion: {evaluation.champion}")
    champion = evaluation.systems[CHAMPION][config.metric].mean
    gap = evaluation.differences[CHAMPION][config.metric]
    passed = gap.high >= -config.champion_tolerance * champion
    return GateCheck(
        "holds_against_champion",
        passed,
        f"{'not worse than' if passed else 'surely worse than'} the champion's {champion:.4f} "
        f"(difference {gap.mean:+.4f}, interval {gap.low:+.4f} to {gap.high:+.4f})",
    )
