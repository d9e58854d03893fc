"""The configuration of a whole pipeline: one YAML file, composed of the steps' own sections."""

import difflib
import json
from collections.abc import Mapping
from copy import deepcopy
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from components.artifacts.cuts import SplitConfig, parse_moment
from components.artifacts.errors import ConfigError
from components.artifacts.yaml_file import read_yaml
from components.assemble_bundle.config import BundleConfig
from components.build_training_set.config import TrainingSetConfig
from components.compute_features.config import FeaturesConfig
from components.datasets.config import DatasetConfig, all_keys, explain
from components.evaluate_bundle.config import EvaluationConfig, GateConfig
from components.ingest_events.config import IngestConfig
from components.ranking.config import RankerConfig
from components.register_bundle.config import RegistryConfig
from components.reranking.config import PolicyConfig, RerankingConfig, RulesConfig
from components.retrieval.config import RetrieversConfig
from components.tune_ranker.config import TuningConfig
from components.tune_retrievers.config import RetrieverTuningConfig
from monitoring.config import MonitoringConfig, RetrainingPolicy


class PipelineConfig(BaseModel):
    """What `recsys train run CONFIG` reads. Sections left out take their defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: DatasetConfig = Field(description="Where the tables come from")
    as_of: str = Field(
        description="The training cut, a date: nothing from then on is learnt from; test weeks follow it"
    )
    seed: int = Field(0, ge=0, description="Of everything that draws")
    ingest: IngestConfig = Field(default_factory=IngestConfig, description="Cleaning rules")
    split: SplitConfig = Field(default_factory=SplitConfig, description="Cuts in time")
    features: FeaturesConfig = Field(default_factory=FeaturesConfig, description="Feature snapshots")
    retrievers: RetrieversConfig = Field(default_factory=RetrieversConfig, description="Candidate generators")
    retriever_tuning: RetrieverTuningConfig = Field(
        default_factory=RetrieverTuningConfig,
        description="Budget of the search of the generators' parameters and quotas",
    )
    training_set: TrainingSetConfig = Field(default_factory=TrainingSetConfig, description="Training rows")
    tuning: TuningConfig = Field(default_factory=TuningConfig, description="Budget of the hyperparameter search")
    ranker: RankerConfig = Field(default_factory=RankerConfig, description="The ranking model")
    reranking: RerankingConfig = Field(
        default_factory=RerankingConfig, description="What is given of the score for more than accuracy"
    )
    rules: RulesConfig = Field(default_factory=RulesConfig, description="Rules of the business, applied after ranking")
    bundle: BundleConfig = Field(default_factory=BundleConfig, description="Golden requests, monitoring reference")
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig, description="Metrics and intervals")
    gate: GateConfig = Field(default_factory=GateConfig, description="What a bundle must reach to be deployed")
    registry: RegistryConfig = Field(default_factory=RegistryConfig, description="Where a passed bundle goes")
    monitoring: MonitoringConfig = Field(default_factory=MonitoringConfig, description="How served windows are judged")
    retraining: RetrainingPolicy = Field(
        default_factory=RetrainingPolicy, description="When a verdict starts a training run"
    )
    retraining_trials: int | None = Field(
        0,
        ge=0,
        description="Trials of a retraining run, from the champion's parameters; null: as many as tuning.trials",
    )

    @field_validator("as_of", mode="before")
    @classmethod
    def _date(cls, value: object) -> object:
        """YAML reads a date without quotes as one; a wrong one is refused here, not after the ingestion."""
        text = value.isoformat() if isinstance(value, date) else value
        if isinstance(text, str):
            parse_moment(text)
        return text

    def model_post_init(self, _context: object) -> None:
        """Refuse a gate whose metric will not be measured, before anything is trained."""
        from components.evaluate_bundle.gate import check_metric  # pulls in pandas, which --help can do without

        check_metric(self.gate, self.evaluation)

    def resolved_split(self) -> SplitConfig:
        """The split with the data set's label types, which are stated there only."""
        return self.split.model_copy(update={"label_types": tuple(self.dataset.label_types)})

    def policy(self) -> PolicyConfig:
        """What stands between the ranking and the list."""
        return PolicyConfig(reranking=self.reranking, rules=self.rules)

    def resolved_monitoring(self) -> MonitoringConfig:
        """The monitoring section with the model's name, the success and the horizon, which are stated elsewhere."""
        quality = self.monitoring.quality.model_copy(
            update={"positive_types": tuple(self.dataset.label_types), "horizon_days": self.split.horizon_days}
        )
        return self.monitoring.model_copy(update={"model": self.registry.model_name, "quality": quality})

    def resolved_json(self) -> str:
        """Every value, defaults included, as JSON with sorted keys: what the manifest keeps."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)


def load_config(name: str, overrides: dict[str, Any] | None = None) -> PipelineConfig:
    """A configuration by name (one that ships with the platform) or by path.

    Args:
        name: For example `complete_journey`, or a path to a YAML file.
        overrides: Dotted key to value, e.g. {"tuning.trials": 4}.

    Raises:
        ConfigError: There is no such file, it is no YAML, or a value is wrong.
    """
    path = _find(name)
    values = read_yaml(path, where=str(path))
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a mapping with at least `dataset` and `as_of`.")
    return parse_config(values, overrides, where=str(path))


def parse_config(
    values: Mapping[str, Any], overrides: Mapping[str, Any] | None = None, *, where: str
) -> PipelineConfig:
    """A configuration from decoded YAML or from a bundle's manifest; `overrides` as in `load_config`.

    Raises:
        ConfigError: A value is wrong; the message begins with `where`.
    """
    changed = deepcopy(dict(values))
    for key, value in (overrides or {}).items():
        _set(changed, key, value)
    try:
        return PipelineConfig.model_validate(changed)
    except ValidationError as error:
        raise ConfigError(f"{where}: {explain(error, all_keys(PipelineConfig))}") from error


def shipped_configs() -> list[str]:
    """Names of the configurations that come with the platform."""
    folder = Path(str(resources.files("pipelines") / "configs"))
    return sorted(path.stem for path in folder.glob("*.yaml"))


def _find(name: str) -> Path:
    path = Path(name)
    if path.suffix in {".yaml", ".yml"}:
        if not path.exists():
            raise ConfigError(f"{path}: no such file. Shipped configurations: {', '.join(shipped_configs())}.")
        return path
    if name not in shipped_configs():
        near = difflib.get_close_matches(name, shipped_configs(), n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ConfigError(
            f"no configuration {name!r}; there are {', '.join(shipped_configs())}, or give a path to a YAML file.{hint}"
        )
    return Path(str(resources.files("pipelines") / "configs" / f"{name}.yaml"))


def _set(values: dict[str, Any], dotted: str, value: Any) -> None:
    *sections, key = dotted.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {dotted}: {section} is a value, not a section.")
    values[key] = value
