"""A node for the control plane of this folder, so that pods really run: containerd, kubelet, scheduler, kube-proxy, DNS, metrics.

    python -m tests.node.node up|down        (make node, make node-down; root on Linux)

All of it listens on the address of a bridge that only this machine has, and pods have addresses of the bridge's network:
they reach each other and the node, and nothing outside. No image is pulled: `python -m tests.node.images` brings them. `down`
takes all away again but the images. Network policies are enforced, by kube-router's firewall.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import orjson
import psutil

from pipelines.server_process import free_ports
from pipelines.stack import running, stop_part
from serving.tls import Identity
from tests.certificates import Authority
from tests.cluster import control_plane
from tests.cluster.control_plane import CACHE, HOST, SERVICES, answers, start
from tests.k8s.manifests import KUBECTL
from tests.node import dns, metrics_server
from tests.node.images import PAUSE, load_program
from tests.node.place import CERTIFICATE_DAYS, RUN, Place, ctr

BUILD = Path(__file__).with_name("build-node")
NAME, BRIDGE, ADDRESS, PODS = "recsys-node", "recsys0", "10.244.0.1", "10.244.0.0/24"
PORT = 6443
"""Of the API server, as network policies know it."""
AGGREGATOR = "front-proxy-client"
PROCESSES = ("containerd", "kube-scheduler", "kubelet", "kube-proxy", "kube-router")
USERS = {
    "system:kube-scheduler": "",
    f"system:node:{NAME}": "system:nodes",
    "system:kube-proxy": "system:node-proxier",
    "kube-router": "system:masters",
}
PACKAGES = {
    "nft": "nftables", "iptables": "iptables", "ipset": "ipset", "conntrack": "conntrack", "ip": "iproute2",
    "mount": "mount", "/usr/lib/cni/bridge": "containernetworking-plugins",
}  # fmt: skip
STOP_SECONDS = 60


def up(cache: Path = CACHE) -> Path:
    """Build what is missing, start control plane and node; the kubeconfig of the administrator.

    Raises:
        RuntimeError: Something is not installed, a process ended, or the node is not ready after two minutes.
    """
    _check_machine()
    subprocess.run([BUILD, cache], check=True)
    if len(running(cache, PROCESSES)) == len(PROCESSES):
        return control_plane.kubeconfig(cache)
    down(cache)
    _make_bridge()
    place = Place(cache)
    kubelet_clients, server = _kubelet_client(place)
    speakers, speaker = _aggregator(place)
    config = control_plane.up(cache, host=ADDRESS, port=PORT, users=USERS, further=[
        "--allow-privileged=true", "--kubelet-preferred-address-types=InternalIP",
        f"--kubelet-client-certificate={server.certificate}", f"--kubelet-client-key={server.key}",
        f"--requestheader-client-ca-file={speakers}", f"--requestheader-allowed-names={AGGREGATOR}",
        "--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={speaker.certificate}", f"--proxy-client-key-file={speaker.key}",
    ])  # fmt: skip
    _write_settings(place, kubelet_clients)
    health, metrics = free_ports(2)
    for name, arguments in _commands(place, health, metrics).items():
        folder = place.programs if (place.programs / name).exists() else control_plane.programs(cache)
        start(cache, folder, name, f"https://{ADDRESS}", arguments, _is_ready(place, name, health))
        if name == "containerd":
            load_program(place.programs / "pause", PAUSE, ctr=ctr(place), name="pause")
    dns.install(place)
    metrics_server.install(place)
    return config


def down(cache: Path = CACHE) -> None:
    """Stop pods and processes, take mounts and the bridge away; harmless where nothing runs."""
    place = Place(cache)
    parts = {part.name: part for part in running(cache, PROCESSES)}
    for name in reversed(PROCESSES[1:]):
        if name in parts:
            stop_part(parts[name])
    if "containerd" in parts:
        _stop_containers(place)
        stop_part(parts["containerd"])
    _end_shims(place)
    control_plane.down(cache)
    for folder in (RUN, place.state):
        _unmount(folder)
        shutil.rmtree(folder, ignore_errors=True)
    _take_network_away(cache)


def _check_machine() -> None:
    if os.geteuid() != 0 or sys.platform != "linux":
        raise RuntimeError("a node makes network devices, mounts and containers: it needs root on Linux")
    missing = [package for command, package in PACKAGES.items() if shutil.which(command) is None]
    if missing:
        raise RuntimeError(f"missing: apt-get install --no-install-recommends {' '.join(missing)}")


def _make_bridge() -> None:
    for line in (f"link add {BRIDGE} type bridge", f"addr add {ADDRESS}/{PODS.partition('/')[2]} dev {BRIDGE}",
                 f"link set {BRIDGE} up"):  # fmt: skip
        subprocess.run(["ip", *line.split()], check=True)
    for name in ("ipv4/ip_forward", "bridge/bridge-nf-call-iptables"):
        Path("/proc/sys/net", name).write_text("1")


def _take_network_away(cache: Path) -> None:
    """Services, the firewall's and the kubelet's rules, networks of pods, the bridge."""
    proxy = Place(cache).programs / "kube-proxy"
    if proxy.exists():
        _quietly([proxy, "--cleanup"])
    for family in ("iptables", "ip6tables"):
        rules = subprocess.run([f"{family}-save"], capture_output=True, text=True, check=False).stdout
        if "KUBE-" in rules:
            others = "".join(line for line in rules.splitlines(keepends=True) if "KUBE-" not in line)
            subprocess.run([f"{family}-restore"], input=others, text=True, check=True)
    for network in Path("/var/run/netns").glob("cni-*"):
        _quietly(["ip", "netns", "delete", network.name])
    _quietly(["ip", "link", "delete", BRIDGE])


def _quietly(command: Sequence[str | Path]) -> None:
    """What is not there need not be taken away."""
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _kubelet_client(place: Place) -> tuple[Path, Identity]:
    """By which the kubelet believes the API server: who signed, and what was signed."""
    place.credentials.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority = Authority(place.credentials, days=CERTIFICATE_DAYS)
    return authority.file, authority.issue("kube-apiserver", group="system:masters")


def _aggregator(place: Place) -> tuple[Path, Identity]:
    """By which servers of further APIs (metrics) believe whom the API server says that it asks for."""
    authority = Authority(place.credentials, "aggregator-authority", days=CERTIFICATE_DAYS)
    return authority.file, authority.issue(AGGREGATOR)


def _write_settings(place: Place, kubelet_clients: Path) -> None:
    """What processes read from files; JSON is YAML, and CNI's own."""
    network = {
        "cniVersion": "1.0.0",
        "name": "recsys",
        "plugins": [
            {
                "type": "bridge",
                "bridge": BRIDGE,
                "isGateway": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(place.state / "addresses"),
                    "ranges": [[{"subnet": PODS, "rangeStart": "10.244.0.10"}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }
        ],
    }
    kubelet = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": ADDRESS,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(kubelet_clients)},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [dns.ADDRESS],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": f"unix://{place.socket}",
        "podLogsDir": str(place.state / "pod-logs"),
        # the disk is this machine's, and images come by no registry: none may be taken away
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
    }
    for path, content in (
        (place.state / "cni" / "10-recsys.conflist", network),
        (place.state / "kubelet.yaml", kubelet),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
    runtime = 'plugins."io.containerd.cri.v1.runtime"'
    (place.state / "containerd.toml").write_text(f"""\
version = 3
root = "{place.cache / "containerd"}"
state = "{RUN / "containerd"}"
[grpc]
address = "{place.socket}"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE}"
[{runtime}]
restrict_oom_score_adj = true  # a sandbox without CAP_SYS_RESOURCE may not set it
[{runtime}.cni]
bin_dirs = ["/usr/lib/cni"]
conf_dir = "{place.state / "cni"}"
[{runtime}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
runtime_path = "{place.programs / "containerd-shim-runc-v2"}"
[{runtime}.containerd.runtimes.runc.options]
SystemdCgroup = false
BinaryName = "{place.programs / "runc"}"
""")


def _commands(place: Place, health: int, metrics: int) -> Mapping[str, Sequence[str]]:
    scheduler, kubelet, proxy = (
        place.config(user) for user in ("system:kube-scheduler", f"system:node:{NAME}", "system:kube-proxy")
    )
    return {
        "containerd": ["--config", str(place.state / "containerd.toml")],
        "kube-scheduler": [
            f"--kubeconfig={scheduler}", f"--authentication-kubeconfig={scheduler}",
            f"--authorization-kubeconfig={scheduler}", "--leader-elect=false", "--secure-port=0",
        ],
        "kubelet": [
            f"--config={place.state / 'kubelet.yaml'}", f"--kubeconfig={kubelet}", f"--hostname-override={NAME}",
            f"--node-ip={ADDRESS}", f"--root-dir={place.state / 'kubelet'}", f"--cert-dir={place.state / 'kubelet-pki'}",
        ],
        "kube-proxy": [
            f"--kubeconfig={proxy}", f"--hostname-override={NAME}", "--proxy-mode=nftables", f"--cluster-cidr={PODS}",
            f"--healthz-bind-address={HOST}:{health}", f"--metrics-bind-address={HOST}:{metrics}", "--conntrack-max-per-core=0",
        ],
        "kube-router": [
            f"--kubeconfig={place.config('kube-router')}", f"--hostname-override={NAME}", "--run-router=false",
            "--run-service-proxy=false", "--run-firewall=true", "--run-loadbalancer=false", "--health-port=0",
            f"--service-cluster-ip-range={SERVICES}",
        ],
    }  # fmt: skip


def _ctr(place: Place, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*ctr(place), *arguments], capture_output=True, text=True, check=False)


def _is_ready(place: Place, name: str, health: int) -> Callable[[], bool]:
    """Whether a process does its work, as far as it can be seen."""
    if name == "kube-proxy":
        return lambda: answers(f"http://{HOST}:{health}/healthz")
    if name == "containerd":
        return lambda: _ctr(place, "version").returncode == 0
    if name == "kubelet":
        query = '{.status.conditions[?(@.type=="Ready")].status}'
        command = [KUBECTL, f"--kubeconfig={place.config('admin')}", "get", "node", NAME, "-o", f"jsonpath={query}"]
        return lambda: subprocess.run(command, capture_output=True, text=True, check=False).stdout == "True"
    return lambda: True


def _stop_containers(place: Place) -> None:
    """Each is told to end and, after a minute, ended: nobody watches over them once the kubelet is gone."""
    for sign in ("SIGTERM", "SIGKILL"):
        running_ones = _ctr(place, "tasks", "list", "--quiet").stdout.split()
        for one in running_ones:
            _ctr(place, "tasks", "kill", "--signal", sign, one)
        end = time.monotonic() + STOP_SECONDS
        while _ctr(place, "tasks", "list").stdout.count("RUNNING") and time.monotonic() < end:
            time.sleep(0.5)
    for one in _ctr(place, "tasks", "list", "--quiet").stdout.split():
        _ctr(place, "tasks", "delete", "--force", one)


def _end_shims(place: Place) -> None:
    """They outlive containerd, for a new one would find its containers by them."""
    for process in psutil.process_iter(["cmdline"]):
        if str(place.socket) in (process.info["cmdline"] or []):
            process.kill()


def _unmount(folder: Path) -> None:
    """Volumes of pods and layers of containers; the innermost first."""
    points = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for point in sorted((point for point in points if point.startswith(f"{folder}/")), key=len, reverse=True):
        subprocess.run(["umount", "--lazy", point], check=False)


def main(arguments: Sequence[str]) -> int:
    try:
        if arguments == ["down"]:
            down()
        elif arguments == ["up"]:
            print(f"export KUBECONFIG={up()}")
        else:
            print("usage: python -m tests.node.node up|down", file=sys.stderr)
            return 2
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
