"""Runs one compiled package with kfp.local, in a process of its own: kfp.local's state is process-wide.

Called by `local_runner`: python -m pipelines.local_worker REQUEST.json, which names the package, the
parameters, the folders and where the outputs are to be written.
"""

import json
import multiprocessing
import os
import signal
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

from pipelines.local_steps import prepare, run_forked

AS_STEP = {"_KFP_RUNTIME": "true"}
"""KFP's own mark of a process that executes a step: kfp then imports a tenth of itself."""


def main(request_path: str) -> None:
    """Execute the package and write its outputs: an artifact's folder, or a parameter's value."""
    warnings.simplefilter("ignore")  # kfp warns about its own imports; the run's log keeps what matters
    signal.signal(signal.SIGTERM, _end)
    request = json.loads(Path(request_path).read_text())
    can_fork = prepare(Path(request["package"]).read_text())
    os.environ["TMPDIR"], tempfile.tempdir = request["scratch"], None  # kfp.local leaves one folder per step there
    from kfp import components, local
    from kfp.local import subprocess_task_handler

    os.environ.update(AS_STEP)  # what is started from here on is steps
    if can_fork:
        subprocess_task_handler.run_local_subprocess = run_forked(subprocess_task_handler.run_local_subprocess)
    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=request["root"],
        enable_caching=request["caching"],
        cache_root=request["cache"],
    )
    run = components.load_component_from_file(request["package"])(**request["arguments"])
    outputs = {name: _plain(value) for name, value in run.outputs.items()}
    Path(request["outputs"]).write_text(json.dumps(outputs))


def _end(number: int, _frame: Any) -> None:
    """Whoever ends the run ends its steps."""
    for step in multiprocessing.active_children():
        step.terminate()
    sys.exit(128 + number)


def _plain(value: Any) -> Any:  # an artifact of any of kfp's types, or a parameter's value
    return value.path if hasattr(value, "path") else value


if __name__ == "__main__":
    main(sys.argv[1])
