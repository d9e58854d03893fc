"""The first import of Feast in a process is the quick, quiet one: another sends its metrics into files that others share."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
MODULES = sorted(
    path.stem for path in (REPO / "feature_repo").glob("*.py") if path.stem not in {"__init__", "definitions"}
)


def said(code: str) -> str:
    """By a new process, which has nothing of this one's Feast."""
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PROMETHEUS_")}
    command = [sys.executable, "-W", "ignore", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPO, env=alone).stdout.strip()


@pytest.mark.parametrize("module", MODULES)
def test_whichever_is_imported_first_leaves_the_processs_metrics_alone(module):
    assert said(f"import os, feature_repo.{module}; print('{FOLDER}' in os.environ)") == "False"


def test_items_of_a_bundle_need_no_feast():
    assert said("import sys, components.retrieval.items; print('feast' in sys.modules)") == "False"
