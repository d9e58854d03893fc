"""The server's image has no scikit-learn: a server that cannot import it answers, explains and scores as any other."""

import os
import subprocess
import sys

import httpx

from components.materialize_features.materialize import materialize_features
from pipelines.server_process import server
from tests.serving.bundles import own_home
from tests.serving.conftest import SERVED_FROM

NOT_INSTALLED = "raise ModuleNotFoundError(\"No module named 'sklearn'\", name='sklearn')\n"


def test_server_that_cannot_import_it_answers_and_explains(trained, tmp_path, monkeypatch):
    (tmp_path / "sklearn").mkdir()
    (tmp_path / "sklearn" / "__init__.py").write_text(NOT_INSTALLED)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    home = own_home(trained, tmp_path)
    materialize_features(home, end=SERVED_FROM)
    with server(home, accept_request_time=True) as running:
        at = {"user_id": "u1", "k": 3, "request_time": SERVED_FROM.isoformat()}
        answer = httpx.post(
            f"{running.url}/v1/models/recommender:predict", json={"instances": [at | {"explain": True}]}, timeout=30
        ).raise_for_status()
    (listed,) = answer.json()["predictions"]
    assert len(listed["items"]) == 3
    assert all(item["explanation"] for item in listed["items"])


def test_a_server_imports_none_of_it_and_whoever_shares_its_process_still_can():
    code = (
        "import sys, serving.__main__; print([one for one in sys.modules if one.split('.')[0] == 'sklearn']); "
        "from sklearn.linear_model import LogisticRegression; print(LogisticRegression.__name__)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.splitlines() == ["[]", "LogisticRegression"]
