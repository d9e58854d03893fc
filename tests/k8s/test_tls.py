"""components/tls: what it makes of the others, and the stores' own commands, run as processes with real certificates."""

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
import redis

from pipelines.cluster_canary import parse_address
from pipelines.server_process import free_ports, start_process
from serving.tls import Identity, asking
from tests.certificates import POSTGRES, Authority, serial_of, shown
from tests.k8s.manifests import KUBECTL, TAGS, Resource, containers, kustomization, name, pods, resources
from tests.k8s.references import dangling
from tests.k8s.test_manifests_start import data, inside
from tests.k8s.validation import mistakes
from tests.servers import PASSWORD, give, own_folder, program, start, unprivileged, wait_until
from tests.serving.api.doors import make_key, wait_until_open

OTHERS = (
    (
        "redis",
        "postgres",
        "standard-canary",
        "prometheus",
        "network-policies",
        "envoy-gateway",
        "keda",
        "kafka",
        "s3",
        "gateway-tls",
    ),
    (
        "redis",
        "postgres",
        "standard-canary",
        "kafka-mirror",
        "spark-training",
        "gateway-jwt",
        "external-secrets",
        "gateway-tls",
    ),
    ("kubeflow-pipelines", "katib", "feast-operator", "evidently", "tls"),
)
OWN, STORES, CA = "/etc/recsys-tls", "/etc/recsys-stores-tls", "/etc/recsys-ca"


def joined(folder: Path, *chosen: str) -> subprocess.CompletedProcess[str]:
    """Components on the base, in this order."""
    made = kustomization(folder, "base", chosen, tags=TAGS)
    return subprocess.run([KUBECTL, "kustomize", made], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module", params=OTHERS, ids=lambda others: others[0] + "...")
def secured(request, tmp_path_factory) -> list[Resource]:
    done = joined(tmp_path_factory.mktemp("secured"), *request.param)
    assert done.returncode == 0, done.stderr
    return resources(done.stdout)


def test_it_goes_with_the_others(secured):
    assert [mistake for one in secured for mistake in mistakes(one)] == []
    assert dangling(secured) == []


def test_knative_mode_is_refused(tmp_path):
    """Its ingress and its proxies stand between door and server."""
    done = joined(tmp_path, "knative-canary", "tls")
    assert done.returncode != 0
    assert "recommender-stable" in done.stderr


def hosts(all_: list[Resource], secret: str) -> list[str]:
    [found] = [
        one["spec"]["dnsNames"] for one in all_ if one["kind"] == "Certificate" and one["spec"]["secretName"] == secret
    ]
    return found


def test_every_address_is_https_and_in_the_servers_certificate(secured):
    config = {key: value for one in secured if one["kind"] == "ConfigMap" for key, value in one["data"].items()}
    urls = [pair.partition("=")[2] for pair in config["RECSYS_API_UPSTREAMS"].split(",")]
    target = config.get("RECSYS_ROLLOUT_TARGET")
    if target:
        urls.append(parse_address(target).canary)
    services = {one["metadata"]["name"]: one["spec"]["ports"] for one in secured if one["kind"] == "Service"}
    for url in map(urlsplit, urls):
        assert url.scheme == "https"
        assert url.hostname in hosts(secured, "recsys-server-tls")
        assert [port["port"] for port in services[url.hostname]] == [443]


def test_gateway_asks_the_door_over_tls_by_a_name_in_its_certificate(secured):
    routed = {
        back["name"]
        for one in secured
        if one["kind"] == "HTTPRoute"
        for rule in one["spec"]["rules"]
        for back in rule["backendRefs"]
    }
    policies = [one["spec"] for one in secured if one["kind"] == "BackendTLSPolicy"]
    assert {ref["name"] for spec in policies for ref in spec["targetRefs"]} == routed
    for spec in policies:
        [authority] = spec["validation"]["caCertificateRefs"]
        assert spec["validation"]["hostname"] in hosts(secured, authority["name"])


def test_server_knows_its_callers_by_names_that_are_in_their_certificates(secured):
    names = set(data(secured, "recsys-server")["RECSYS_TLS_CLIENT_NAMES"].split(","))
    assert names == {one for secret in ("recsys-door-tls", "recsys-operations-tls") for one in hosts(secured, secret)}
    for one in secured:
        if one["kind"] == "Certificate" and set(one["spec"].get("dnsNames", [])) & names:
            assert "client auth" in one["spec"]["usages"]


def test_whoever_listens_has_its_own_certificate_and_is_probed_and_scraped_over_tls(secured):
    listening = {
        "door": "recsys-door-tls",
        "operations": "recsys-operations-tls",
        "evidently": "recsys-evidently-tls",
        "kserve-container": "recsys-server-tls",
    }
    for pod, _ in pods(secured):
        for container in containers(pod):
            if container["name"] not in listening:
                continue
            [mounted] = [one["name"] for one in container["volumeMounts"] if one["mountPath"] == OWN]
            [secret] = [one["secret"]["secretName"] for one in pod["volumes"] if one["name"] == mounted]
            assert secret == listening[container["name"]]
            probes = [container[probe]["httpGet"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
            assert {probe["scheme"] for probe in probes} == {"HTTPS"}
    for one in secured:
        if name(one) in {"PodMonitor/recsys-door", "PodMonitor/recsys-server"}:
            [end] = one["spec"]["podMetricsEndpoints"]
            assert end["scheme"] == "https"
            assert end["tlsConfig"]["serverName"] in hosts(secured, end["tlsConfig"]["ca"]["secret"]["name"])


def test_whoever_reads_the_stores_finds_the_authority_and_nobody_its_key(secured):
    for pod, labels in pods(secured):
        for volume in pod.get("volumes", []):
            if volume.get("secret", {}).get("secretName") == "recsys-ca":
                assert volume["secret"]["items"] == [{"key": "ca.crt", "path": "ca.crt"}]
        for container in containers(pod):
            reads = {"recsys-stores"} & {one.get("secretRef", {}).get("name") for one in container.get("envFrom", [])}
            mounted = {one["mountPath"] for one in container.get("volumeMounts", [])}
            assert not reads or CA in mounted, labels


@pytest.fixture(scope="module")
def stores(tmp_path_factory) -> list[Resource]:
    done = joined(tmp_path_factory.mktemp("stores"), "redis", "postgres", "tls")
    return resources(done.stdout)


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that PostgreSQL's user can reach."""
    made = own_folder()
    yield made
    rmtree(made)


def container_of(all_: list[Resource], app: str) -> Resource:
    [pod] = [pod for pod, labels in pods(all_) if labels["app.kubernetes.io/name"] == app]
    [container] = pod["containers"]
    return container


def as_mounted(folder: Path, all_: list[Resource]) -> tuple[Authority, dict[str, object]]:
    """The folders of a pod here, and who signs its certificate."""
    tls, scripts = folder / "tls", folder / "scripts"
    own = {
        OWN: tls,
        STORES: scripts,
        "/etc/redis": folder / "etc",
        "/data": folder / "data",
        "/tmp/redis": folder / "redis",
    }
    for one in {path.name for path in own.values()} - {"redis"}:
        (folder / one).mkdir()
    authority = Authority(tls, "ca")
    authority.issue("tls")
    for file, text in data(all_, "recsys-stores-tls").items():
        (scripts / file).write_text(inside(text, own))
    return authority, own


def test_door_starts_with_the_manifests_variables(stores, tmp_path):
    authority, own = as_mounted(tmp_path, stores)
    [port] = free_ports(1)
    given = {key: inside(value, own) for key, value in data(stores, "recsys-door").items()}
    keys = tmp_path / "keys"
    keys.mkdir()
    headers = make_key(keys)
    given |= {"RECSYS_API_PORT": str(port), "RECSYS_API_KEYS_FOLDER": str(keys)}
    url, process = f"https://127.0.0.1:{port}", start_process(tmp_path, "serving.api", given, tmp_path / "door.log")
    try:
        wait_until_open(url, process)
        assert httpx.get(f"{url}/openapi.json", headers=headers, verify=asking(authority.file)).status_code == 200
    finally:
        process.terminate()
        process.wait(20)


def test_redis_speaks_tls_alone_and_takes_a_renewed_certificate(stores, tmp_path):
    program("redis-server")
    authority, own = as_mounted(tmp_path, stores)
    [port] = free_ports(1)
    container = container_of(stores, "recsys-redis")
    text = inside(data(stores, "recsys-redis")["redis.conf"], own)
    (tmp_path / "etc" / "redis.conf").write_text(f"{text}\nbind 127.0.0.1\n")
    settings, log = tmp_path / "scripts" / "redis-tls.conf", tmp_path / "redis.log"
    settings.write_text(settings.read_text().replace("6379", str(port)))
    environment = os.environ | {"REDIS_PASSWORD": PASSWORD, "RENEW_SECONDS": "0.2", "REDIS_PORT": str(port)}
    with log.open("w") as output:
        command = [inside(part, own) for part in container["command"]]
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    probe = [inside(part, own) for part in container["readinessProbe"]["exec"]["command"]]
    probe[-1] = probe[-1].replace("redis-cli", f"redis-cli -p {port}")
    try:
        wait_until(lambda: subprocess.run(probe, env=environment, check=False).returncode == 0, process, log)
        with pytest.raises(redis.ConnectionError):
            redis.Redis(port=port, password=PASSWORD).ping()
        with redis.Redis.from_url(f"rediss://:{PASSWORD}@127.0.0.1:{port}/0?ssl_ca_certs={authority.file}") as client:
            assert client.ping()
        renewed = serial_of(authority.issue("tls"))
        wait_until(lambda: shown(port, authority.file) == renewed, process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_postgres_speaks_tls_alone_and_takes_a_renewed_certificate(stores, folder):
    postgres, user = Path(program("postgres")), unprivileged()
    authority, own = as_mounted(folder, stores)
    [port] = free_ports(1)
    cluster, secret, log = folder / "data" / "pgdata", folder / "secret", folder / "postgres.log"
    secret.write_text(PASSWORD)
    give_all(folder, user)
    give(Identity(folder / "tls" / "tls.crt", folder / "tls" / "tls.key"), user)
    identity = ["--username", "recsys", "--pwfile", str(secret), "--auth", "scram-sha-256"]
    start([program("initdb"), "--no-sync", *identity, "-D", str(cluster)], log, user).wait()
    arguments = [inside(one, own) for one in container_of(stores, "recsys-postgres")["args"]][1:]
    here = ["-p", str(port), "-c", f"unix_socket_directories={folder}", "-h", "127.0.0.1", "-c", "fsync=off"]
    process = start([str(postgres), "-D", str(cluster), *arguments, *here], log, user)
    variables = [
        f"PATH={Path(program('pg_ctl')).parent}:{os.environ['PATH']}",
        f"PGDATA={cluster}",
        "RENEW_SECONDS=0.2",
    ]
    script = ["env", *variables, "sh", str(folder / "scripts" / "renew-postgres.sh"), str(process.pid)]
    renewing = start(script, log, user)
    target = f"postgresql://recsys:{PASSWORD}@127.0.0.1:{port}/postgres"
    try:
        wait_until(lambda: is_started(f"{target}?sslmode=verify-full&sslrootcert={authority.file}"), process, log)
        with psycopg.connect(f"{target}?sslmode=verify-full&sslrootcert={authority.file}") as connection:
            assert connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone() == (True,)
        with pytest.raises(psycopg.OperationalError, match=r"no pg_hba.conf entry for host .* no encryption"):
            psycopg.connect(f"{target}?sslmode=disable")
        again = authority.issue("tls")
        give(again, user)
        renewed = serial_of(again)
        wait_until(lambda: shown(port, authority.file, preamble=POSTGRES) == renewed, process, log)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)
        ended = renewing.wait(20)
    assert ended == 0  # with the server that it serves


def is_started(url: str) -> bool:
    """It listens before it lets anybody in."""
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


def give_all(folder: Path, user: str | None) -> None:
    for path in (folder, *folder.rglob("*")):
        if user is not None:
            shutil.chown(path, user, pwd.getpwnam(user).pw_gid)
