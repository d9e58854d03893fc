"""The ranker's search as a Katib Experiment: the same space, trial and budget, with Katib in Optuna's place.

Katib starts a pod for each trial and reads the metric from what the pod prints. It stops no trial early, and cannot be told
where to begin. An experiment is not edited but replaced, so it is named by its content.
"""

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import yaml

from components.artifacts.errors import ConfigError
from components.ranking.training import SEARCH_SPACE
from components.tuning.search_space import Choice, Float, Int
from pipelines.config import PipelineConfig
from pipelines.kubeflow.platform import HOME_PATH, SCRATCH_PATH, SHARED_SEARCH, USER, Platform

METRIC = "ndcg-at-10"
"""NDCG@10 as Katib's collector can read it: word characters and dashes."""
ALGORITHMS = {"tpe": "multivariate-tpe", "random": "random"}
"""Sampler to Katib's word for it; its service for the first is Optuna's TPE with the same settings."""
CONFIG_PATH = "/etc/recsys/pipeline.yaml"
READ = {"dataset", "as_of", "seed", "tuning", "ranker"}
"""What a trial's configuration says: what it reads, and what no configuration is without."""
MAX_FAILED = 3
"""Trials that may fail before the experiment does."""
KEPT_SECONDS = 86_400
"""Ended trials' pods stay so long, for their output."""
LABELS = {
    "app.kubernetes.io/name": "ranker-trial",
    "app.kubernetes.io/component": "tuning",
    "app.kubernetes.io/part-of": "recsys",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where an experiment runs.

    Attributes:
        image: Of the pipeline, with a version or a digest.
        training_set: Folder of the training set as the trials' pods see it.
        namespace: Of the experiment.
        parallel: Trials at a time.
        service_account: Of the trials' pods.
        platform: Names on the cluster.
    """

    image: str
    training_set: str
    namespace: str = "recsys"
    parallel: int = 2
    service_account: str = "recsys-training"
    platform: Platform = field(default_factory=Platform)


def metric_line(score: float, now: datetime) -> str:
    """What a trial prints. Katib's collector wants the time first, and no exponent."""
    return f"{now.isoformat(timespec='milliseconds').replace('+00:00', 'Z')} {METRIC}={score:.6f}"


def experiment(config: PipelineConfig, place: Place) -> str:
    """A ConfigMap with the configuration and the Experiment whose trials read it, as YAML for `kubectl apply`.

    Args:
        config: Budget, sampler, folds, ranker, seed.
        place: Where it runs.

    Raises:
        ConfigError: The configuration leaves no trial, or the path would need quotes in a shell.
    """
    if shlex.quote(place.training_set) != place.training_set:
        raise ConfigError(
            f"training set {place.training_set!r}: Katib puts it into a shell's line; expected a path without quotes."
        )
    if config.tuning.trials == 0:
        raise ConfigError("tuning.trials: 0, so there is nothing to search. Set it to the trials that Katib may start.")
    resolved = yaml.safe_dump(config.model_dump(mode="json", include=READ), sort_keys=True)
    template = _spec(config, place, "")
    name = "ranker-" + hashlib.sha256(json.dumps([resolved, template], sort_keys=True).encode()).hexdigest()[:12]
    metadata = {"name": name, "namespace": place.namespace, "labels": LABELS}
    documents = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {"pipeline.yaml": resolved},
            "immutable": True,
        },
        {
            "apiVersion": "kubeflow.org/v1beta1",
            "kind": "Experiment",
            "metadata": metadata,
            "spec": _spec(config, place, name),
        },
    ]
    return yaml.dump_all(documents, Dumper=_Plain, sort_keys=True)


class _Plain(yaml.SafeDumper):
    """Writes what people read: text of several lines as it is, and what stands in two places twice, without anchors."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Plain.add_representer(str, _Plain.represent_text)


def _spec(config: PipelineConfig, place: Place, config_map: str) -> dict[str, Any]:
    trials = config.tuning.trials
    return {
        "objective": {
            "type": "maximize",
            "objectiveMetricName": METRIC,
            "metricStrategies": [{"name": METRIC, "value": "latest"}],
        },
        "algorithm": {
            "algorithmName": ALGORITHMS[config.tuning.sampler],
            "algorithmSettings": [{"name": "random_state", "value": str(config.seed)}],
        },
        "maxTrialCount": trials,
        "parallelTrialCount": min(place.parallel, trials),
        "maxFailedTrialCount": min(MAX_FAILED, trials),
        "metricsCollectorSpec": {"collector": {"kind": "StdOut"}},
        "parameters": [_parameter(name, domain) for name, domain in SEARCH_SPACE.items()],
        "trialTemplate": {
            "primaryContainerName": "trial",
            "retain": True,  # else Katib takes a trial's pod away at its end, and what a failed one said with it
            "trialParameters": [{"name": name, "reference": name} for name in SEARCH_SPACE],
            "trialSpec": _job(place, config_map),
        },
    }


def _parameter(name: str, domain: Float | Int | Choice) -> dict[str, Any]:
    """A domain of the search space in Katib's words; all its values are strings."""
    if isinstance(domain, Choice):
        return {"name": name, "parameterType": "categorical", "feasibleSpace": {"list": list(domain.options)}}
    space = {"min": str(domain.low), "max": str(domain.high)}
    if domain.log:
        space["distribution"] = "logUniform"
    return {"name": name, "parameterType": "int" if isinstance(domain, Int) else "double", "feasibleSpace": space}


def command(training_set: str, values: Mapping[str, str]) -> Sequence[str]:
    """Of a trial. Katib joins it into one line of a shell, so no part needs quotes."""
    params = [f"--param={name}={value}" for name, value in values.items()]
    return ["recsys", "train", "trial", CONFIG_PATH, f"--training-set={training_set}", *params]


def _job(place: Place, config_map: str) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "spec": {
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "activeDeadlineSeconds": SHARED_SEARCH["search-ranker"].minutes * 60,
            "template": {
                # A mesh's proxy would outlive the trial, and the job would never end.
                "metadata": {"labels": {**LABELS, "sidecar.istio.io/inject": "false"}},
                "spec": _pod(place, config_map),
            },
        },
    }


def _pod(place: Place, config_map: str) -> dict[str, Any]:
    return {
        "restartPolicy": "Never",
        "serviceAccountName": place.service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(place)],
        "volumes": [
            {"name": "home", "persistentVolumeClaim": {"claimName": place.platform.home_claim, "readOnly": True}},
            {"name": "config", "configMap": {"name": config_map}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }


def _container(place: Place) -> dict[str, Any]:
    need = SHARED_SEARCH["search-ranker"]
    memory = f"{need.memory_gib}Gi"
    return {
        "name": "trial",
        "image": place.image,
        # Katib needs the command itself: without it, it asks the registry for the image's.
        "command": command(place.training_set, {name: f"${{trialParameters.{name}}}" for name in SEARCH_SPACE}),
        "env": [
            {"name": "OMP_NUM_THREADS", "value": str(need.cpu)},
            {"name": "NUMBA_CACHE_DIR", "value": f"{SCRATCH_PATH}/numba"},
            {"name": "MPLCONFIGDIR", "value": f"{SCRATCH_PATH}/matplotlib"},
        ],
        "resources": {"requests": {"cpu": str(need.cpu), "memory": memory}, "limits": {"memory": memory}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "home", "mountPath": HOME_PATH, "readOnly": True},
            {"name": "config", "mountPath": CONFIG_PATH.rpartition("/")[0], "readOnly": True},
            {"name": "tmp", "mountPath": SCRATCH_PATH},
        ],
    }
