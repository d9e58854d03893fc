"""Waiting for a server process."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from pipelines import server_process
from pipelines.server_process import HUGE_PAGES, RunningServer, ServerFailedError, start_process, wait_for_items
from tests.loopback import QuietHandler, answering

MOMENT = datetime(2024, 4, 29, tzinfo=UTC)


def test_server_that_is_too_busy_to_answer_is_asked_again(monkeypatch):
    asked: list[str] = []

    class Busy(QuietHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if len(asked) == 1:
                return  # the connection ends without an answer
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"items_as_of": MOMENT.isoformat()}).encode())

    monkeypatch.setattr(server_process, "POLL_SECONDS", 0.0)
    with answering(Busy) as url:
        wait_for_items(RunningServer(url, 0, 0, Path("server.log")), MOMENT)
    assert asked == ["/readyz", "/readyz"]


def test_items_that_never_come_are_told_with_the_moment_and_the_log(monkeypatch):
    monkeypatch.setattr(server_process, "REFRESH_SECONDS", 0.0)
    with pytest.raises(ServerFailedError, match=r"no item features as of 2024-04-29T.* Its log: server\.log"):
        wait_for_items(RunningServer("http://127.0.0.1:9", 0, 0, Path("server.log")), MOMENT)


@pytest.mark.parametrize("own", [None, "glibc.malloc.check=0"])
def test_started_process_asks_for_huge_pages_unless_it_is_told_otherwise(monkeypatch, tmp_path: Path, own: str | None):
    (tmp_path / "told.py").write_text("import os; print(os.environ['GLIBC_TUNABLES'])")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    process = start_process(tmp_path, "told", {"GLIBC_TUNABLES": own} if own else {}, tmp_path / "told.log")
    assert process.wait(60) == 0
    assert (tmp_path / "told.log").read_text().strip() == (own or HUGE_PAGES["GLIBC_TUNABLES"])


def test_cluster_asks_for_them_too():
    runtime = yaml.safe_load(Path("k8s/base/recommender/runtime.yaml").read_text())
    (container,) = runtime["spec"]["containers"]
    given = {one["name"]: one.get("value") for one in container["env"]}
    assert HUGE_PAGES.items() <= given.items()
