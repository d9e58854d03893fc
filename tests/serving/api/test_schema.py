"""Requests of any shape, made by schemathesis from the door's own OpenAPI document, against a door and a server.

Of its checks one is left out: it takes every `k` and every cursor that fits their types for good, but a server has a limit,
and a cursor is an earlier answer's. And two routes: no made-up name is that of a report or
of a rollout, so all of their answers are refusals.
"""

import os
import subprocess
import sys
from pathlib import Path

CHECKS_LEFT_OUT = "positive_data_acceptance"
EXAMPLES = "15"
"""Per operation and phase; with those of each boundary about seven hundred requests, ten seconds."""


def test_no_request_makes_the_door_break_its_contract(front, tmp_path):
    (front.home / "registry").mkdir()  # a door without a state has no console
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{front.url}/openapi.json"),
        *("--header", f"Authorization: {front.client.headers['authorization']}"),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", EXAMPLES),
        *("--generation-deterministic", "--no-shrink", "--continue-on-failure", "--no-color"),
        *("--exclude-path", "/console/files/{file}", "--exclude-path", "/console/rollouts"),
        *("--exclude-checks", CHECKS_LEFT_OUT, "--generation-with-security-parameters", "false"),
    ]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "No issues found" in done.stdout


def test_405_names_every_method_of_the_path(front):
    refused = front.client.delete("/v1/recommendations")
    assert refused.status_code == 405
    assert refused.headers["allow"] == "GET, HEAD, POST"
