"""What a cluster is told of each step, from one table: resources, retries, time, state folder, secrets, user.

The compiled pipeline stays the one that runs here; this adds what only a cluster reads. kfp.local ignores it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from components.artifacts.errors import ConfigError, ContractError
from components.artifacts.spark import MASTER
from components.tuning.config import STUDIES_URL
from feature_repo.own import VARIABLE as OWN_FEATURES
from feature_repo.store_config import OFFLINE_STORE, ONLINE_STORE_URL, REGISTRY_URL

HOME_PATH, SCRATCH_PATH, USER = "/var/lib/recsys", "/tmp", 10001  # noqa: S108 - a pod's own, an emptyDir
"""The pipeline image's RECSYS_HOME, its HOME, and its user."""
AUTHORITY_PATH = "/etc/recsys-ca"
"""Where every pod that reads the stores finds who signed their certificates, as ca.crt."""
GIB, GB = 2**30, 1e9
FROM_SECRET = (REGISTRY_URL, ONLINE_STORE_URL, STUDIES_URL, OFFLINE_STORE, MASTER, OWN_FEATURES)
"""Keys of the stores' secret, and the variables of the steps."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a step needs.

    Attributes:
        cpu: Cores that are requested, or a part of one; there is no limit, which would only slow it down.
        memory_gib: Memory, requested and limit: more ends the step.
        minutes: Longest that it may take.
        retries: How often it is tried again after a failure; a step is harmless to repeat, whole runs of them are.
    """

    cpu: float
    memory_gib: float
    minutes: int
    retries: int = 2


NEEDS: Mapping[str, Need] = {
    "ingest-events": Need(cpu=1, memory_gib=8, minutes=60),
    "compute-features": Need(cpu=2, memory_gib=8, minutes=60),
    "tune-retrievers": Need(cpu=2, memory_gib=8, minutes=240),
    "train-retrievers": Need(cpu=2, memory_gib=8, minutes=60),
    "build-training-set": Need(cpu=2, memory_gib=8, minutes=60),
    "tune-ranker": Need(cpu=4, memory_gib=8, minutes=240),
    "train-ranker": Need(cpu=4, memory_gib=8, minutes=120),
    "assemble-bundle": Need(cpu=1, memory_gib=4, minutes=30),
    "evaluate-bundle": Need(cpu=2, memory_gib=8, minutes=60),
    "register-bundle": Need(cpu=1, memory_gib=1, minutes=15),
}
"""Of the training pipeline. 15 million interactions had 7.9 GiB at their peak (benchmarks/cost/COST.md)."""
SHARED_SEARCH: Mapping[str, Need] = {"search-ranker": Need(cpu=4, memory_gib=8, minutes=240)}
"""Of what is added where several pods share the ranker's search; each of them needs this."""
SCHEDULED: Mapping[str, Need] = {"choose-dates": Need(cpu=1, memory_gib=1, minutes=10)}
"""Of what is added where a clock starts the runs."""


EACH = "*"
"""In a change, the name of all steps."""


def changed(needs: Mapping[str, Need], changes: Sequence[str]) -> Mapping[str, Need]:
    """The table with what an installation says otherwise; a later change counts more.

    Args:
        needs: Of the steps of a package.
        changes: Each `STEP.WHAT=VALUE`: a step or `*`, a field of Need, more than 0 (retries from 0 on). One of a step that this
            package does not have, but another, changes nothing.

    Raises:
        ConfigError: A change names no step, no field or no number of its kind.
    """
    known = {**NEEDS, **SHARED_SEARCH, **SCHEDULED}
    table = dict(needs)
    for change in changes:
        name, _, assigned = change.partition(".")
        field, _, value = assigned.partition("=")
        if name not in known and name != EACH:
            raise ConfigError(
                f"--need {change}: no step {name!r}. Give STEP.WHAT=VALUE with * or one of {', '.join(known)}."
            )
        number = _number(change, field, value)
        for step in table if name == EACH else {name} & set(table):
            table[step] = Need(**asdict(table[step]) | {field: number})
    return table


def _number(change: str, field: str, value: str) -> float | int:
    kinds = {one.name: one.type for one in fields(Need)}
    if field not in kinds:
        raise ConfigError(f"--need {change}: no {field!r}. Give STEP.WHAT=VALUE with one of {', '.join(kinds)}.")
    try:
        number = int(value) if kinds[field] is int else float(value)
    except ValueError:
        number = -1
    if not (number > 0 or (field == "retries" and number == 0)) or number == float("inf"):
        raise ConfigError(f"--need {change}: {value!r} is no {'whole ' if kinds[field] is int else ''}number above 0.")
    return number


@dataclass(frozen=True, slots=True)
class Platform:
    """Names that a cluster has for what every step shares.

    Attributes:
        home_claim: Claim of the state folder, which server and steps share.
        stores_secret: Secret with the stores' URLs; the steps run without it, or without one of them, where it is not there.
        authority_config_map: ConfigMap with the file that those URLs name where the stores speak TLS; not needed either. No
            Secret: Kubeflow mounts them whole, and that of an authority has its key.
    """

    home_claim: str = "recsys-home"
    stores_secret: str = "recsys-stores"  # noqa: S105 - a name
    authority_config_map: str = "recsys-ca"


def for_cluster(package: str, platform: Platform, needs: Mapping[str, Need] = NEEDS) -> str:
    """A compiled pipeline with each step's settings, as two documents with sorted keys.

    Args:
        package: The compiled pipeline.
        platform: Names on the cluster.
        needs: Of every step.

    Raises:
        ContractError: A step is not in the table, the table has one more, or Kubeflow would not understand the result.
    """
    documents = list(yaml.safe_load_all(package))
    if len(documents) > 1:
        raise ContractError("package: has a platform's settings already. Compile it without.")
    spec: dict[str, Any] = documents[0]
    executors = spec["deploymentSpec"]["executors"]
    steps = {name.removeprefix("exec-") for name in executors}
    if steps != set(needs):
        raise ContractError(
            f"steps and their needs differ in {sorted(steps ^ set(needs))}. Complete NEEDS in pipelines/kubeflow/platform.py."
        )
    for name, executor in executors.items():
        executor["container"]["resources"] = _resources(needs[name.removeprefix("exec-")])
    for graph in (spec["root"], *spec["components"].values()):
        _retry(graph.get("dag", {}).get("tasks", {}), needs)
    settings = {name: _settings(platform, needs[name.removeprefix("exec-")]) for name in sorted(executors)}
    documents.append({"platforms": {"kubernetes": {"deploymentSpec": {"executors": settings}}}})
    _check(documents)
    return yaml.safe_dump_all(documents, sort_keys=True)


def _resources(need: Need) -> dict[str, Any]:
    """Both forms that kfp writes: numbers (gigabytes of ten), which older backends read, and Kubernetes' quantities."""
    memory, quantity = need.memory_gib * GIB / GB, f"{need.memory_gib:g}Gi"
    return {
        "cpuRequest": float(need.cpu),
        "memoryRequest": memory,
        "memoryLimit": memory,
        "resourceCpuRequest": f"{need.cpu:g}",
        "resourceMemoryRequest": quantity,
        "resourceMemoryLimit": quantity,
    }


def _retry(tasks: Mapping[str, dict[str, Any]], needs: Mapping[str, Need]) -> None:
    """Of steps alone: a group of steps that is tried again would run those again that had succeeded."""
    for name, task in tasks.items():
        if name in needs and needs[name].retries:
            task["retryPolicy"] = {
                "maxRetryCount": needs[name].retries,
                "backoffDuration": "30s",
                "backoffFactor": 2.0,
                "backoffMaxDuration": "600s",
            }


def _settings(platform: Platform, need: Need) -> dict[str, Any]:
    secret = [{"secretKey": name, "envVar": name} for name in FROM_SECRET]
    return {
        "activeDeadlineSeconds": str(need.minutes * 60),
        "securityContext": {"runAsUser": str(USER), "runAsGroup": str(USER), "runAsNonRoot": True},
        "pvcMount": [
            {
                "mountPath": HOME_PATH,
                "constant": platform.home_claim,
                "pvcNameParameter": {"runtimeValue": {"constant": platform.home_claim}},
            }
        ],
        "configMapAsVolume": [
            {
                "configMapName": platform.authority_config_map,
                "configMapNameParameter": {"runtimeValue": {"constant": platform.authority_config_map}},
                "mountPath": AUTHORITY_PATH,
                "optional": True,
            }
        ],
        "emptyDirMounts": [{"volumeName": "tmp", "mountPath": SCRATCH_PATH}],
        "secretAsEnv": [
            {
                "secretName": platform.stores_secret,
                "secretNameParameter": {"runtimeValue": {"constant": platform.stores_secret}},
                "keyToEnv": secret,
                "optional": True,
            }
        ],
    }


def _check(documents: list[dict[str, Any]]) -> None:
    spec, platform = documents
    kubernetes = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    try:
        json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
        json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
        for executor in spec["deploymentSpec"]["executors"].values():
            json_format.ParseDict(executor, pipeline_spec_pb2.PipelineDeploymentConfig.ExecutorSpec())
        for executor in kubernetes.values():
            json_format.ParseDict(executor, kubernetes_executor_config_pb2.KubernetesExecutorConfig())
    except json_format.ParseError as error:
        raise ContractError(f"package: Kubeflow would not understand it ({error}).") from error
