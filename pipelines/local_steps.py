"""Executes the steps of a package in forks of one process that has imported what they import.

kfp.local starts a Python for each step, and each imports for two seconds and more: half of the CPU of a small
training. Here a fork server (https://docs.python.org/3/library/multiprocessing.html#contexts-and-start-methods) imports
once, before it has a thread, and each step is a fork of it that runs KFP's own executor. A step is a process of its own
as before: it ends with its own exit code and leaves nothing in the next one.
"""

import multiprocessing
import os
import re
import runpy
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver, util
from pathlib import Path
from typing import Any

import yaml

EXECUTOR = "kfp.dsl.executor_main"
OURS = re.compile(r"^\s+from ((?:components|feature_repo|monitoring|pipelines|serving)[\w.]*) import ([\w, ]+)$", re.M)
SHELL = ("sh", "-ec")
LONGEST_FOLDER = 89
"""Bytes: a socket's path has at most 107, of which its name takes 18."""

RunCommand = Callable[..., int]
"""How kfp.local runs a step: its command and the variables that its container sets, to an exit code."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a lightweight Python component is started with.

    Attributes:
        source: Its module.
        arguments: Of the executor: the function and KFP's input.
    """

    source: str
    arguments: tuple[str, ...]

    @classmethod
    def of(cls, command: Sequence[str]) -> "Step | None":
        """What a command starts; None where it is another kind of command, or installs packages first."""
        if tuple(command[:2]) != SHELL or len(command) < 4:
            return None
        script = command[2]
        return cls(command[3], tuple(command[4:])) if EXECUTOR in script and "pip install" not in script else None


def prepare(package: str) -> bool:
    """Say what the process is to import that steps are forks of; it starts with the first step that is executed.

    Args:
        package: The compiled pipeline, YAML. What its steps import of this platform is imported.

    Returns:
        Whether steps can be forks: on Linux, where the fork of a process without threads is sound whatever it has loaded,
        and where the path of the server's socket, which lies in a folder of its own in TMPDIR, is as short as it has to be.
    """
    if sys.platform != "linux":
        return False
    forkserver.set_forkserver_preload(["kfp.dsl.executor", *imported(package)])
    return len(os.fsencode(util.get_temp_dir())) <= LONGEST_FOLDER


def imported(package: str) -> list[str]:
    """Modules of this platform that the steps of a package import; also names that are in a module and are none."""
    spec = next(iter(yaml.load_all(package, yaml.CSafeLoader)))
    executors = spec.get("deploymentSpec", {}).get("executors", {}).values()
    sources = "\n".join(part for one in executors for part in one.get("container", {}).get("command", ()))
    names: dict[str, None] = {}
    for module, what in OURS.findall(sources):
        names |= dict.fromkeys((module, *(f"{module}.{name.split()[0]}" for name in what.split(",") if name.strip())))
    return list(names)


def run_forked(otherwise: RunCommand) -> RunCommand:
    """How kfp.local is to run a command: steps as forks, anything else as kfp.local does.

    Args:
        otherwise: kfp.local's own way.
    """
    context: Any = multiprocessing.get_context("forkserver")

    def run(full_command: list[str], env_vars: Mapping[str, str] | None = None) -> int:
        step = Step.of(full_command)
        if step is None:
            return otherwise(full_command=full_command, env_vars=env_vars)
        process = context.Process(target=execute, args=(step, {**os.environ, **(env_vars or {})}))
        process.start()
        process.join()
        return int(process.exitcode)

    return run


def execute(step: Step, environment: Mapping[str, str]) -> None:
    """In the fork: what `python -m kfp.dsl.executor_main` does in a process of its own."""
    os.environ.clear()
    os.environ.update(environment)
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "ephemeral_component.py"
        program.write_text(step.source)
        sys.argv = [EXECUTOR, "--component_module_path", str(program), *step.arguments]
        runpy.run_module(EXECUTOR, run_name="__main__", alter_sys=True)
