"""`recsys up`, `down`, `status` and `keys`, as a user meets them."""

import json
import os
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime
from inspect import signature

import httpx
import psutil
import pytest

from components.artifacts.errors import ConfigError
from pipelines.cli import serve, stack
from pipelines.server_process import free_ports
from pipelines.stack import Part, down, status, up
from serving.api.keys import create_key, read_keys, revoke_key
from serving.tls import asking
from tests.certificates import Authority
from tests.pipelines.test_cli import RECSYS, recsys


@pytest.fixture
def stopped_after(trained):
    yield trained.home
    down(trained.home)
    (trained.home / "keys.json").unlink(missing_ok=True)


def test_up_answers_with_a_key_and_down_stops_both_and_may_be_repeated(stopped_after, trained):
    home = stopped_after
    front, behind = free_ports(2)
    secret = recsys("keys", "create", "shop", home=home).stdout.strip()
    said = recsys(
        "up", "--port", str(front), "--server-port", str(behind), "--grpc-port", "0", home=home
    ).stdout  # fmt: skip
    url = f"http://127.0.0.1:{front}"
    assert f"curl -H 'Authorization: Bearer KEY' '{url}/v1/recommendations?user_id=1&k=5'" in said
    question = {"params": {"user_id": "u2", "k": 3}}
    assert httpx.get(f"{url}/v1/recommendations", **question).status_code == 401
    answer = httpx.get(f"{url}/v1/recommendations", headers={"x-api-key": secret}, **question)
    assert len(answer.json()["items"]) == 3
    assert "running already" in recsys("up", "--port", str(front), home=home, status=2).stderr
    told = recsys("status", home=home).stdout
    assert f"door    {url}" in told
    assert f"bundle {trained.run.bundle_id}, items as of" in told
    pids = [part.pid for part in status(home)]
    assert recsys("down", home=home).stdout.count("stopped") == 2
    assert all(not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie" for pid in pids)
    assert "nothing was running" in recsys("down", home=home).stdout
    assert "not running" in recsys("status", home=home, status=1).stdout
    assert "Traceback" not in (home / "logs" / "server.log").read_text() + (home / "logs" / "door.log").read_text()


def test_both_speak_tls_where_the_environment_says_so(stopped_after, trained, tmp_path, monkeypatch):
    home, authority = stopped_after, Authority(tmp_path)
    own = authority.issue("own")
    for prefix in ("RECSYS_TLS", "RECSYS_API_TLS", "RECSYS_API_UPSTREAM"):
        monkeypatch.setenv(f"{prefix}_CERTIFICATE", str(own.certificate))
        monkeypatch.setenv(f"{prefix}_KEY", str(own.key))
    monkeypatch.setenv("RECSYS_TLS_CLIENT_CA", str(authority.file))
    monkeypatch.setenv("RECSYS_API_UPSTREAM_CA", str(authority.file))
    front, behind = free_ports(2)
    recsys("up", "--port", str(front), "--server-port", str(behind), "--grpc-port", "0", home=home)
    question = {"params": {"user_id": "u2", "k": 3}, "verify": asking(authority.file)}
    answer = httpx.get(f"https://127.0.0.1:{front}/v1/recommendations", **question)
    assert answer.json()["bundle_id"] == trained.run.bundle_id
    assert "x-recsys-fallback" not in answer.headers
    assert httpx.get(f"https://127.0.0.1:{behind}/v1/recommendations", **question).status_code == 403
    told = recsys("status", home=home).stdout
    assert f"server  https://127.0.0.1:{behind}" in told
    assert f"bundle {trained.run.bundle_id}, items as of" in told


def test_keys_are_listed_and_taken_back(tmp_path):
    recsys("keys", "create", "shop", "--scope", "metrics", "--expires-days", "30", home=tmp_path)
    assert "active" in recsys("keys", "list", home=tmp_path).stdout
    key_id = read_keys(tmp_path)[0].key_id
    assert recsys("keys", "revoke", "shop", home=tmp_path).stdout == f"revoked {key_id} of shop\n"
    assert "revoked" in recsys("keys", "list", home=tmp_path).stdout
    assert "expected a name" in recsys("keys", "create", "x", "--scope", "all", home=tmp_path, status=2).stderr


def test_key_that_was_taken_back_before_is_said_to_be_with_the_time(tmp_path):
    then = datetime(2024, 1, 1, 12, 30, tzinfo=UTC)
    old, _ = create_key(tmp_path, "shop", ["events"], now=then)
    revoke_key(tmp_path, old.key_id, now=then)
    new, _ = create_key(tmp_path, "shop", ["events"], now=then)
    assert recsys("keys", "revoke", "shop", home=tmp_path).stdout.splitlines() == [
        f"{old.key_id} of shop was revoked already, since 2024-01-01 12:30 UTC",
        f"revoked {new.key_id} of shop",
    ]
    assert read_keys(tmp_path)[0].revoked == then


def test_down_leaves_a_process_alone_that_only_has_the_pid(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        (tmp_path / "run").mkdir()
        record = {"name": "server", "pid": stranger.pid, "started": 1.0, "url": "http://127.0.0.1:1", "log": ""}
        (tmp_path / "run" / "server.json").write_text(json.dumps(record))
        assert status(tmp_path) == []
        assert down(tmp_path) == []
        assert stranger.poll() is None
        os.kill(stranger.pid, signal.SIGKILL)
    assert Part.read(tmp_path, "server") is None


def test_port_that_is_taken_is_named_before_anything_starts(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1"):
            up(tmp_path, {"http_port": port}, {"port": free_ports(1)[0]})


@pytest.mark.parametrize("command", ["serve", "monitor evidently", "python -m serving.api"])
def test_port_that_is_taken_ends_what_listens_itself_as_a_wrong_usage(tmp_path, command):
    """And at once: nothing was loaded, so there is no log of it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        if command.startswith("python"):
            called, variables = [sys.executable, *command.split()[1:]], {"RECSYS_API_PORT": port}
        else:
            called, variables = [RECSYS, *command.split(), "--port", port], {}
        environment = os.environ | {"RECSYS_HOME": str(tmp_path)} | variables
        done = subprocess.run(called, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2, done.stderr
    said = f"port {port} of 127.0.0.1: Address already in use. Choose another, or stop what has it."
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(("content", "said"), [(None, "No such file"), ("rules: {hide: []}", "hide")])
def test_rules_file_that_cannot_be_used_is_named_before_anything_starts(tmp_path, content, said):
    path = tmp_path / "rules.yaml"
    if content:
        path.write_text(content)
    front, behind = free_ports(2)
    refused = recsys(
        "up", "--port", str(front), "--server-port", str(behind), "--rules", str(path), home=tmp_path, status=2
    )  # fmt: skip
    assert f"rules file {path}" in refused.stderr
    assert said in refused.stderr
    assert not (tmp_path / "run").exists()


def test_up_takes_what_serve_takes():
    """But the server's address, which is behind the door."""
    taken = {name: set(signature(command).parameters) for name, command in (("up", stack.up), ("serve", serve.serve))}
    assert taken["serve"] <= taken["up"]


def test_up_without_a_champion_leaves_nothing_running(tmp_path):
    front, behind = free_ports(2)
    said = recsys("up", "--port", str(front), "--server-port", str(behind), home=tmp_path, status=2).stderr
    assert "error the server ended with exit code 2: model recommender: no champion" in said
    assert "Train one with `recsys train run`" in said
    assert status(tmp_path) == []
