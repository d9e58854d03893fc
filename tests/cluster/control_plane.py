"""A Kubernetes control plane on loopback: etcd, kube-apiserver and kube-controller-manager as processes, without a node.

    python -m tests.cluster.control_plane up|down       (make control-plane, make control-plane-down)

Everything that an API server does is real: strict validation, CEL rules, admission, RBAC, controllers that make pods of workloads
and take away what belongs to a namespace. No scheduler and no kubelet run, so a pod stays pending; tests/node adds both.
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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

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
SERVICES = "10.96.0.0/16"
"""Addresses of Services."""


def up(
    cache: Path = CACHE,
    *,
    host: str = HOST,
    port: int | None = None,
    users: Mapping[str, str] = MappingProxyType({}),
    further: Sequence[str] = (),
) -> Path:
    """Build what is missing, start what does not run; the kubeconfig of its administrator.

    Args:
        cache: Programs, and what the processes write.
        host: Address that the API server listens on.
        port: Its port; a free one where left out.
        users: Further users to their group, each with a kubeconfig in `state`.
        further: Arguments of the API server.

    Raises:
        RuntimeError: A process ended or did not become ready; the message names its log.
    """
    subprocess.run([BUILD, cache], check=True)
    if len(running(cache, PROCESSES)) == len(PROCESSES):
        return kubeconfig(cache)
    down(cache)
    built, state = programs(cache), _fresh_state(cache)
    etcd_port, peer_port, free_port = free_ports(3)
    api_port = port or free_port
    etcd, peer = (f"http://{HOST}:{one}" for one in (etcd_port, peer_port))
    api = f"https://{host}:{api_port}"
    groups = {"admin": "system:masters", "system:kube-controller-manager": ""} | users
    tokens = {user: secrets.token_hex(16) for user in groups}
    _write_secrets(state, tokens, groups)

    start(cache, built, "etcd", etcd, _etcd(state, etcd, peer), lambda: answers(f"{etcd}/health"))
    arguments = [*_api_server(state, etcd, host, api_port), *further]
    start(cache, built, "kube-apiserver", api, arguments, lambda: answers(f"{api}/readyz"))
    authority = (state / "certificates" / "apiserver.crt").read_text()
    for user, token in tokens.items():
        _write_kubeconfig(user_kubeconfig(cache, user), api, authority, token)
    start(cache, built, "kube-controller-manager", api, _controllers(cache), lambda: True)
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


def user_kubeconfig(cache: Path, user: str) -> Path:
    """Of one of the users; the administrator's lies beside the state, where people look for it."""
    return kubeconfig(cache) if user == "admin" else cache / "state" / f"{user.rpartition(':')[2]}.kubeconfig"


def programs(cache: Path) -> Path:
    """Of the newest release that was built."""
    return max(cache.glob("v[0-9]*"), key=lambda path: [int(part) for part in path.name[1:].split(".")])


def _fresh_state(cache: Path) -> Path:
    """An empty etcd at each start: nothing in it is worth keeping, and a port of last time is nobody's."""
    state = cache / "state"
    if state.exists():
        subprocess.run(["rm", "-rf", state], check=True)
    state.mkdir(parents=True, mode=0o700)
    return state


def _write_secrets(state: Path, tokens: Mapping[str, str], groups: Mapping[str, str]) -> None:
    lines = [f'{token},{user},{user},"{groups[user]}"' for user, token in tokens.items()]
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


def _api_server(state: Path, etcd: str, host: str, port: int) -> list[str]:
    """With the admission plugins and the RBAC authorizer of any cluster."""
    return [
        f"--etcd-servers={etcd}", f"--bind-address={host}", f"--advertise-address={host}", f"--secure-port={port}",
        f"--cert-dir={state / 'certificates'}", "--authorization-mode=Node,RBAC", f"--token-auth-file={state / 'tokens.csv'}",
        f"--service-account-issuer=https://{host}:{port}", f"--service-account-key-file={state / 'accounts.key'}",
        f"--service-account-signing-key-file={state / 'accounts.key'}", f"--service-cluster-ip-range={SERVICES}",
        *(["--endpoint-reconciler-type=none"] if host == HOST else []),  # of loopback it refuses to tell pods
    ]  # fmt: skip


def _controllers(cache: Path) -> list[str]:
    state, config = cache / "state", user_kubeconfig(cache, "system:kube-controller-manager")
    return [
        f"--kubeconfig={config}", f"--authentication-kubeconfig={config}", f"--authorization-kubeconfig={config}",
        "--leader-elect=false", "--secure-port=0", "--use-service-account-credentials",
        f"--service-account-private-key-file={state / 'accounts.key'}",
        f"--root-ca-file={state / 'certificates' / 'apiserver.crt'}",
    ]  # fmt: skip


def start(
    cache: Path, programs: Path, name: str, url: str, arguments: Sequence[str], is_ready: Callable[[], bool]
) -> None:
    """Start a program of the folder and wait until it is ready.

    Raises:
        RuntimeError: It ended, or was not ready in two minutes; the message names its log.
    """
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


def answers(url: str) -> bool:
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
