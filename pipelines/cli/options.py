"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Any

import typer

from components.artifacts.errors import ConfigError
from components.artifacts.yaml_file import from_yaml

Config = Annotated[
    str,
    typer.Argument(help="A shipped configuration's name, or the path of a YAML file.", metavar="CONFIG"),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a value, e.g. --set tuning.trials=4. Repeatable."),
]
DEFAULT = "complete_journey"
"""The configuration that is taken where none is named."""
STEP_IMAGE_VARIABLE = "RECSYS_STEP_IMAGE"
Image = Annotated[
    str, typer.Option(envvar=STEP_IMAGE_VARIABLE, help="Image of every step, with a version or a digest.")
]
TARGET_VARIABLE = "RECSYS_ROLLOUT_TARGET"
Target = Annotated[
    str,
    typer.Option(
        envvar=TARGET_VARIABLE,
        help="local, or knative://NAMESPACE/SERVICE?bundles=URI, or standard://... the same way; &canary=URL where doors "
        "reach the candidate by a name of its own.",
    ),
]
Endpoint = Annotated[str, typer.Option(envvar="KF_PIPELINES_ENDPOINT", help="Address of Kubeflow's API.")]
TokenFile = Annotated[
    Path | None, typer.Option(envvar="KF_PIPELINES_SA_TOKEN_PATH", help="File with the token that it wants.")
]
HomeClaim = Annotated[str, typer.Option(help="The cluster's volume claim of the state folder.")]
Needs = Annotated[
    list[str] | None,
    typer.Option(
        "--need", metavar="STEP.WHAT=VALUE", envvar="RECSYS_STEP_NEEDS",
        help="What a step asks for, other than the table says: cpu, memory_gib, minutes or retries of a step, or of each by *, "
        "such as '*.cpu=1'. Repeatable; the later counts.",
    ),
]  # fmt: skip
Experiment = Annotated[str, typer.Option(help="Kubeflow's experiment.")]
Namespace = Annotated[str | None, typer.Option(help="Namespace of a multi-user Kubeflow.")]
Rules = Annotated[
    Path | None, typer.Option("--rules", help="YAML with rules and reranking that replaces the bundle's own.")
]
AcceptRequestTime = Annotated[bool, typer.Option(help="Let requests say what time it is, for a replay of the past.")]
ServiceAccount = Annotated[str | None, typer.Option(help="Service account of the steps' pods.")]


def overrides(pairs: list[str] | None) -> dict[str, Any]:
    """`tuning.trials=4` to {"tuning.trials": 4}; values are read as YAML.

    Raises:
        ConfigError: A pair has no equals sign, or its value is no YAML.
    """
    result = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--set {pair}: expected KEY=VALUE, for example --set tuning.trials=4.")
        result[key] = from_yaml(value, where=f"--set {pair}")
    return result
