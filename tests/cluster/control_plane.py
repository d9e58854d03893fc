"""A Kubernetes control plane on loopback: etcd, kube-apiserver and kube-controller-manager as processes, without a node.

    python -m tests.cluster.control_plane up|down       (make control-plane, make control-plane-down)

Everything that an API server does is real: strict validation, CEL rules, admission, RBAC, controllers that make pods of workloads
and take away what belongs to a namespace. No scheduler and no kubelet run, so a pod stays pending.
"""

import json
import os
import secrets
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import psutil
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from pipelines.server_process import POLL_SECONDS, free_ports
from pipelines.stack import Part, part_file, running, stop_part

BUILD = Path(__file__).with_name("build-control-plane")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "recsys-control-plane"
"""Programs, and what the processes write; outside of the checkout."""
PROCESSES = ("etcd", "kube-apiserver", "kube-controller-manager")
START_SECONDS = 120.0
HOST = "127.0.0.1"


def up(cache: Path = CACHE) -> Path:
    """Build what is missing, start what does not run; the kubeconfig of its administrator.

    Raises:
        RuntimeError: A process ended or did not become ready; the message names its log.
    """
    subprocess.run([BUILD, cache], check=True)
    if len(running(cache, PROCESSES)) == len(PROCESSES):
        return kubeconfig(cache)
    down(cache)
    programs = max(cache.glob("v*"), key=lambda path: [int(part) for part in path.name[1:].split(".")])
    state = _fresh_state(cache)
    etcd_port, peer_port, api_port = free_ports(3)
    etcd, peer, api = (f"{scheme}://{HOST}:{port}" for scheme, port in
                       (("http", etcd_port), ("http", peer_port), ("https", api_port)))  # fmt: skip
    tokens = {"admin": secrets.token_hex(16), "system:kube-controller-manager": secrets.token_hex(16)}
    _write_secrets(state, tokens)

    _start(cache, programs, "etcd", etcd, _etcd(state, etcd, peer), lambda: _answers(f"{etcd}/health"))
    _start(
        cache, programs, "kube-apiserver", api, _api_server(state, etcd, api_port), lambda: _answers(f"{api}/readyz")
    )
    authority = (state / "certificates" / "apiserver.crt").read_text()
    _write_kubeconfig(kubeconfig(cache), api, authority, tokens["admin"])
    _write_kubeconfig(state / "controllers", api, authority, tokens["system:kube-controller-manager"])
    _start(cache, programs, "kube-controller-manager", api, _controllers(state), lambda: True)
    return kubeconfig(cache)


def down(cache: Path = CACHE) -> list[Part]:
    """Stop the processes that `up` started, and no other; those that ran."""
    there = running(cache, PROCESSES)
    for part in reversed(there):
        stop_part(part)
    return there


def kubeconfig(cache: Path) -> Path:
    """Of the administrator."""
    return cache / "kubeconfig"


def _fresh_state(cache: Path) -> Path:
    """An empty etcd at each start: nothing in it is worth keeping, and a port of last time is nobody's."""
    state = cache / "state"
    if state.exists():
        subprocess.run(["rm", "-rf", state], check=True)
    state.mkdir(parents=True, mode=0o700)
    return state


def _write_secrets(state: Path, tokens: dict[str, str]) -> None:
    groups = {"admin": "system:masters"}
    lines = [f'{token},{user},{user},"{groups.get(user, "")}"' for user, token in tokens.items()]
    _private(state / "tokens.csv", "\n".join(lines) + "\n")
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    _private(state / "accounts.key",
             key.private_bytes(encoding, serialization.PrivateFormat.TraditionalOpenSSL, plain).decode())  # fmt: skip


def _private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _etcd(state: Path, client: str, peer: str) -> list[str]:
    """Without TLS, on loopback, and without waiting for the disk: it holds nothing that outlives a test."""
    return [
        f"--data-dir={state / 'etcd'}", "--unsafe-no-fsync", "--name=only", f"--initial-cluster=only={peer}",
        f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", "--log-level=warn",
    ]  # fmt: skip


def _api_server(state: Path, etcd: str, port: int) -> list[str]:
    """With the admission plugins and the RBAC authorizer of any cluster."""
    return [
        f"--etcd-servers={etcd}", f"--bind-address={HOST}", f"--advertise-address={HOST}", f"--secure-port={port}",
        f"--cert-dir={state / 'certificates'}", "--authorization-mode=Node,RBAC", f"--token-auth-file={state / 'tokens.csv'}",
        f"--service-account-issuer=https://{HOST}:{port}", f"--service-account-key-file={state / 'accounts.key'}",
        f"--service-account-signing-key-file={state / 'accounts.key'}", "--service-cluster-ip-range=10.96.0.0/16",
        "--endpoint-reconciler-type=none",
    ]  # fmt: skip


def _controllers(state: Path) -> list[str]:
    config = state / "controllers"
    return [
        f"--kubeconfig={config}", f"--authentication-kubeconfig={config}", f"--authorization-kubeconfig={config}",
        "--leader-elect=false", "--secure-port=0", "--use-service-account-credentials",
        f"--service-account-private-key-file={state / 'accounts.key'}",
        f"--root-ca-file={state / 'certificates' / 'apiserver.crt'}",
    ]  # fmt: skip


def _start(
    cache: Path, programs: Path, name: str, url: str, arguments: Sequence[str], is_ready: Callable[[], bool]
) -> None:
    log = cache / "state" / f"{name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [programs / name, *arguments], stdout=output, stderr=output, cwd=cache, start_new_session=True
        )
    part = Part(name, process.pid, psutil.Process(process.pid).create_time(), url, str(log))
    part_file(cache, name).parent.mkdir(parents=True, exist_ok=True)
    part_file(cache, name).write_text(json.dumps(asdict(part)))
    end = time.monotonic() + START_SECONDS
    while not is_ready():
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"{name}: not ready; its log is {log}")
        time.sleep(POLL_SECONDS)


def _answers(url: str) -> bool:
    """Whether it says 200. It is asked without its certificate, which is not there before it is ready."""
    unverified = ssl._create_unverified_context()
    try:
        with urllib.request.urlopen(url, timeout=5, context=unverified) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _write_kubeconfig(path: Path, server: str, authority: str, token: str) -> None:
    """As JSON, which is YAML."""
    import base64

    cluster = {"server": server, "certificate-authority-data": base64.b64encode(authority.encode()).decode()}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "local", "cluster": cluster}],
        "users": [{"name": "local", "user": {"token": token}}],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": "local"}}],
        "current-context": "local",
    }
    path.unlink(missing_ok=True)
    _private(path, json.dumps(content))


def main(arguments: Sequence[str]) -> int:
    if arguments == ["down"]:
        print(f"stopped {', '.join(part.name for part in down()) or 'nothing: none ran'}")
    elif arguments == ["up"]:
        print(f"export KUBECONFIG={up()}")
    else:
        print("usage: python -m tests.cluster.control_plane up|down", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
