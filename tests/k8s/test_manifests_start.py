"""What the manifests say is run here, as processes: a variable or a command that is wrong is found before a cluster is."""

import os
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from redis import Redis

from feature_repo.store import apply
from monitoring.workspace import FOLDER as WORKSPACE
from pipelines.cli.options import TARGET_VARIABLE
from pipelines.cluster_canary import parse_address
from pipelines.server_process import free_ports, start_process, wait_until_ready
from serving.api.assignment import STABLE, Experiment, put_experiment
from serving.api.fallback import FILE
from serving.api.keys import create_key
from serving.exposures import read_exposures
from tests.k8s.manifests import K8S, Resource, pods, render, render_alone, resources
from tests.servers import PASSWORD, listens, program, wait_until


@pytest.fixture(scope="module")
def kind() -> list[Resource]:
    return resources(render(K8S / "overlays" / "kind"))


def data(all_: list[Resource], prefix: str) -> dict[str, str]:
    [found] = [
        one["data"] for one in all_ if one["kind"] == "ConfigMap" and one["metadata"]["name"].startswith(f"{prefix}-")
    ]
    return dict(found)


def test_server_and_door_start_with_the_manifests_variables_and_answer(kind, trained, tmp_path):
    target = parse_address(data(resources(render(K8S / "overlays" / "staging")), "recsys-operations")[TARGET_VARIABLE])
    versions = urlsplit(target.bundles).path.lstrip("/")
    server_port, door_port = map(str, free_ports(2))
    bundle = trained.home / versions / trained.run.bundle_id  # what KServe mounts at /mnt/models
    server_variables = data(kind, "recsys-server") | {"RECSYS_HTTP_PORT": server_port, "RECSYS_BUNDLE": str(bundle)}
    door_variables = data(kind, "recsys-door") | {
        "RECSYS_API_PORT": door_port,
        "RECSYS_API_KEYS_FOLDER": str(tmp_path / "keys"),
        "RECSYS_API_UPSTREAMS": f"stable=http://127.0.0.1:{server_port}",
    }
    apply(tmp_path / "home")  # as CronJob apply-features does
    _, secret = create_key(tmp_path / "keys", "shop", ("recommend",), now=datetime.now(UTC))
    put_experiment(tmp_path / "door", Experiment(name="spring", canary_share=0.5, url="http://127.0.0.1:9"))
    given = {path.name for path in (tmp_path / "door").iterdir()}
    server = start_process(tmp_path / "home", "serving", server_variables, tmp_path / "server.log")
    door = start_process(tmp_path / "door", "serving.api", door_variables, tmp_path / "door.log")
    try:
        wait_until_ready("server", f"http://127.0.0.1:{server_port}", tmp_path / "server.log", server.poll)
        wait_until_ready("door", f"http://127.0.0.1:{door_port}", tmp_path / "door.log", door.poll)
        answer = httpx.get(
            f"http://127.0.0.1:{door_port}/v1/recommendations",
            params={"user_id": "u1", "k": 3},
            headers={"authorization": f"Bearer {secret}"},
            timeout=10,
        )
        assert answer.status_code == 200, answer.text
        assert answer.json()["bundle_id"] == trained.run.bundle_id
        wait_until((tmp_path / "door" / FILE).exists, door, tmp_path / "door.log")
    finally:
        for process in (door, server):
            process.terminate()
            process.wait(60)
    [written] = (tmp_path / "home" / "logs" / "impressions").rglob("*.parquet")
    assert socket.gethostname() in written.name
    [mounts] = [
        container["volumeMounts"]
        for pod, labels in pods(kind)
        if labels["app.kubernetes.io/name"] == "recsys-door"
        for container in pod["containers"]
    ]
    writable = {one["subPath"] for one in mounts if one["name"] == "home" and not one.get("readOnly")}
    assert {path.name for path in (tmp_path / "door").iterdir()} - given == writable  # all that is written, and no more
    today = datetime.now(UTC)
    [exposure] = read_exposures(tmp_path / "door", today - timedelta(days=1), today + timedelta(days=1)).to_pylist()
    assert (exposure["experiment"], exposure["user_id"], exposure["answered_by"]) == ("spring", "u1", STABLE)


def test_evidentlys_pages_start_with_the_manifests_command_and_write_nothing(tmp_path):
    made = resources(render_alone("components/evidently", tmp_path))
    [container] = [
        container
        for pod, labels in pods(made)
        if labels["app.kubernetes.io/name"] == "recsys-evidently"
        for container in pod["containers"]
    ]
    home, [port] = tmp_path / "home", free_ports(1)
    (home / WORKSPACE).mkdir(parents=True)  # as the kubelet does, of the mount's path
    _, secret = create_key(tmp_path / "keys", "ops", ("console",), now=datetime.now(UTC))
    arguments = [str(port) if one == "8080" else one for one in container["args"]]
    variables = {one["name"]: one["value"] for one in container["env"]} | data(made, "recsys-door")
    variables |= {"RECSYS_HOME": str(home), "RECSYS_API_KEYS_FOLDER": str(tmp_path / "keys")}
    log, url = tmp_path / "pages.log", f"http://127.0.0.1:{port}"
    with log.open("w") as output:
        pages = subprocess.Popen(
            [str(Path(sys.executable).parent / "recsys"), *arguments],  # the image's entry point
            env=os.environ | variables, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        wait_until(lambda: listens(port), pages, log)
        assert httpx.get(f"{url}/healthz", timeout=30).status_code == 200
        assert httpx.get(f"{url}/api/projects", timeout=30).status_code == 401
        shown = httpx.get(f"{url}/api/projects", headers={"authorization": f"Bearer {secret}"}, timeout=30)
        assert (shown.status_code, shown.json()) == (200, [])
    finally:
        pages.terminate()
        pages.wait(60)
    assert [path for path in home.rglob("*") if path.is_file()] == []


def test_redis_starts_with_the_manifests_command_asks_for_the_password_and_hears_sigterm(kind, tmp_path):
    program("redis-server")
    [pod] = [pod for pod, labels in pods(kind) if labels["app.kubernetes.io/name"] == "recsys-redis"]
    [container] = pod["containers"]
    [port] = free_ports(1)
    own = {"/etc/redis": tmp_path / "etc", "/data": tmp_path / "data", "/tmp/redis": tmp_path / "redis"}
    for folder in ("etc", "data"):
        (tmp_path / folder).mkdir()
    command = [inside(part, own) for part in container["command"]]
    text = inside(data(kind, "recsys-redis")["redis.conf"], own)
    (tmp_path / "etc" / "redis.conf").write_text(f"{text}\nbind 127.0.0.1\nport {port}\n")
    log = tmp_path / "redis.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, env=os.environ | {"REDIS_PASSWORD": PASSWORD}, stdout=output)
    try:
        wait_until(lambda: listens(port), process, log)
        with Redis(port=port, password=PASSWORD) as client:
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            client.set("kept", "1")
        assert PASSWORD not in " ".join(subprocess.check_output(["ps", "-o", "args=", str(process.pid)], text=True))
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert any((tmp_path / "data").rglob("*.aof"))


def inside(text: str, own: dict[str, object]) -> str:
    """Paths of the container as folders of this test."""
    for path, folder in own.items():
        text = text.replace(path, str(folder))
    return text
