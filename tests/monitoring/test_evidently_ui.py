"""Evidently's own UI as a process on loopback: whose key sees what, and that nobody writes."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile

import httpx
import pytest

from monitoring.config import MonitoringConfig, ReportConfig
from monitoring.workspace import FOLDER, KEPT
from pipelines.server_process import free_ports
from tests.monitoring.conftest import NOW, World, refresh
from tests.serving.api.doors import make_key

RECSYS = str(Path(sys.executable).parent / "recsys")
PATIENCE_SECONDS = 180.0


@dataclass(frozen=True)
class Ui:
    """The process on the state folder of a window that was judged."""

    home: Path
    url: str
    keys: dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory, bundle: tuple[Path, str]) -> Path:
    """A state folder whose one window was judged twice, with more snapshots of windows before than are kept."""
    home = tmp_path_factory.mktemp("judged")
    refresh(home, NOW)
    world = World(home, *bundle, MonitoringConfig(min_users=100, report=ReportConfig(features=2)))
    world.serve()
    world.judge()
    (snapshot,) = (home / FOLDER).glob("*/snapshots/*.json")
    for age in range(KEPT + 1):
        before = snapshot.with_name(f"{uuid.UUID(int=age)}.json")
        copyfile(snapshot, before)
        os.utime(before, (age, age))
    world.judge()
    return home


@pytest.fixture
def ui(judged: Path) -> Iterator[Ui]:
    keys = {"console": make_key(judged, "console"), "recommend": make_key(judged, "recommend")}
    (port,) = free_ports(1)
    command = [RECSYS, "monitor", "evidently", "--port", str(port)]
    process = subprocess.Popen(command, env=os.environ | {"RECSYS_HOME": str(judged)})
    try:
        wait_until_open(f"http://127.0.0.1:{port}", process)
        yield Ui(judged, f"http://127.0.0.1:{port}", keys)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def wait_until_open(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            httpx.get(url, timeout=30.0)
        except httpx.TransportError:
            continue
        return
    raise AssertionError(f"the pages are not there, exit code {process.poll()}")


def test_window_that_is_judged_again_is_the_same_snapshot_and_the_newest_are_kept(judged: Path) -> None:
    """The UI reads all of them for its first page."""
    kept = {path.stem for path in (judged / FOLDER).glob("*/snapshots/*.json")}
    copies = {str(uuid.UUID(int=age)) for age in range(2, KEPT + 1)}
    assert len(kept) == KEPT
    assert len(kept - copies) == 1


def test_key_of_the_console_reads_the_windows_and_nobody_else_does(ui: Ui) -> None:
    with httpx.Client(base_url=ui.url, timeout=60.0) as client:
        for path in ("/", "/api/projects", "/api/version"):
            refused = client.get(path)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, 'Basic realm="recsys"')
            assert "lacks the scope console" in client.get(path, headers=ui.keys["recommend"]).json()["error"]
        alive = client.get("/healthz")  # a probe has no key
        assert (alive.status_code, alive.json()) == (200, {"status": "alive"})
        allowed = ui.keys["console"]
        assert "<html" in client.get("/", headers=allowed).text
        (project,) = client.get("/api/projects", headers=allowed).json()
        assert project["name"] == "recommender"
        windows = client.get(f"/api/projects/{project['id']}/reports", headers=allowed).json()
        assert len(windows) == KEPT
        assert {window["timestamp"][:10] for window in windows} == {"2017-11-06"}
        assert "b-0123456789ab" in windows[0]["tags"]
        assert client.post("/api/projects", json={"name": "mine"}, headers=allowed).status_code == 403
        assert client.delete(f"/api/projects/{project['id']}", headers=allowed).status_code == 403
        assert len(client.get("/api/projects", headers=allowed).json()) == 1


def test_dashboard_plots_the_leading_features_over_the_windows(ui: Ui) -> None:
    with httpx.Client(base_url=ui.url, timeout=60.0) as client:
        allowed = ui.keys["console"]
        (project,) = client.get("/api/projects", headers=allowed).json()
        drift, missing = client.get(f"/api/v2/dashboards/{project['id']}", headers=allowed).json()["panels"]
        asked = {"series_filter": [drift["values"][0], missing["values"][0]]}
        address = f"/api/v2/snapshots/{project['id']}/data_series_batch"
        assert client.post(address, json=asked).status_code == 401
        assert client.post(address, json=asked, headers=ui.keys["recommend"]).status_code == 403
        answer = client.post(address, json=asked, headers=allowed)
        assert answer.status_code < 300, answer.text
        series = answer.json()["series"]
        assert [one["params"]["column"] for one in series] == [drift["values"][0]["legend"]] * 2
        assert all(len(one["values"]) == KEPT for one in series)
        assert client.post(f"/api/v2/snapshots/{project['id']}/add", json={}, headers=allowed).status_code == 403
