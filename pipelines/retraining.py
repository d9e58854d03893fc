"""From a verdict to a training run: exactly one, however many processes judge the same window."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from components.artifacts.cuts import newest_as_of
from components.artifacts.registry import require_champion
from components.retrieval.config import RetrieversConfig
from monitoring.retraining_policy import REFUSED_OUTCOME, Action, decide, launch_once
from monitoring.verdict import Verdict
from pipelines.config import PipelineConfig


class Trained(Protocol):
    """What came of a training run."""

    @property
    def bundle_id(self) -> str:
        """Id of the bundle, or of the run where it has left none."""

    @property
    def gate(self) -> Mapping[str, Any]:
        """The gate's verdict: passed, sentence, checks."""


Run = TypeVar("Run", bound=Trained)


@dataclass(frozen=True, slots=True)
class Retraining(Generic[Run]):
    """What came of a verdict.

    Attributes:
        action: launch, skip, blocked or escalate.
        reason: Why.
        run: The training run, None where none was started.
    """

    action: Action
    reason: str
    run: Run | None

    @property
    def sentence(self) -> str:
        """For a terminal."""
        if self.run is None:
            return f"{self.action}: {self.reason}"
        if not self.run.gate["passed"]:
            return f"{self.reason}; trained {self.run.bundle_id}, refused by the gate: {self.run.gate['sentence']}"
        compared = self.run.gate["checks"][-1]["reason"]
        return f"{self.reason}; trained {self.run.bundle_id}, now challenger: {compared}"

    def to_dict(self) -> dict[str, Any]:
        """For `recsys demo --json`."""
        facts: dict[str, Any] = {"action": str(self.action), "reason": self.reason}
        if self.run is not None:
            facts |= {"bundle_id": self.run.bundle_id, "gate": dict(self.run.gate)}
        return facts


def retrain_if_advised(
    config: PipelineConfig, home: Path, verdict: Verdict, *, now: datetime, train: Callable[[PipelineConfig], Run]
) -> Retraining[Run]:
    """Train again where the verdict and the policy say so.

    Args:
        config: The configuration that trained the champion.
        home: State folder.
        verdict: Of the newest window.
        now: Time of the decision; nothing later is read.
        train: Executes a configuration, here or on Kubeflow.
    """
    decision = decide(verdict, config.retraining, home=home, now=now)
    launched = launch_once(
        home,
        decision,
        lambda _key: train(retraining_config(config, home, now)),
        now=now,
        outcome=_outcome,
    )
    return Retraining(launched.decision.action, launched.decision.reason, launched.result)


def retraining_config(config: PipelineConfig, home: Path, now: datetime) -> PipelineConfig:
    """The champion's configuration, moved to the newest date whose test weeks are over by now.

    The champion's hyperparameters are the starting point of the search; so are its candidate generators, where
    these are searched.
    """
    as_of = newest_as_of(now, config.split)
    champion = require_champion(home, config.registry.model_name)
    tuning = config.tuning.model_copy(update={"initial": _params(champion.manifest.facts.training), **_budget(config)})
    generators = config.retriever_tuning.model_copy(update=_budget(config))
    return config.model_copy(
        update={
            "as_of": as_of.date().isoformat(),
            "tuning": tuning,
            "retriever_tuning": generators,
            "retrievers": _retrievers(config, champion.manifest.facts.config),
        }
    )


def _outcome(run: Trained) -> str:
    return run.bundle_id if run.gate["passed"] else f"{REFUSED_OUTCOME}{run.bundle_id}"


def _budget(config: PipelineConfig) -> dict[str, int]:
    return {} if config.retraining_trials is None else {"trials": config.retraining_trials}


def _retrievers(config: PipelineConfig, trained_with: Mapping[str, Any]) -> RetrieversConfig:
    """The champion's where the configuration has them searched, else the configured ones."""
    if config.retriever_tuning.trials == 0 or "retrievers" not in trained_with:
        return config.retrievers
    return RetrieversConfig.model_validate(trained_with["retrievers"])


def _params(training: Mapping[str, Any]) -> dict[str, Any] | None:
    params = training.get("params")
    return dict(params) if params else None
