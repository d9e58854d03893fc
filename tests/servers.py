"""Redis, PostgreSQL and Kafka as a test's own processes: on a free port of loopback, in a folder of their own, ended by pid."""

import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from redis import Redis

from pipelines.server_process import free_ports
from serving.tls import Identity

START_SECONDS, POLL_SECONDS = 60.0, 0.02
PASSWORD = "s3cret-of-the-tests"  # asked for by both, so that a test sees where it turns up
INSTALL = "sudo apt-get install redis-server postgresql prometheus chromium, or `make servers`"


def program(name: str) -> str:
    """The path of a server's program. Without it the test is skipped, and in CI failed: there it may not be missing."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    found = shutil.which(name, path=os.pathsep.join([*map(str, folders), os.environ.get("PATH", "")]))
    if found is not None:
        return found
    said = f"{name} is not installed: {INSTALL}"
    if os.environ.get("CI") == "true":
        pytest.fail(said)
    pytest.skip(said)


@dataclass
class RedisServer:
    """A Redis that forgets everything when it stops; it can be stopped, stalled and started again on its port.

    With an identity it speaks TLS and nothing else.
    """

    folder: Path
    port: int = field(default_factory=lambda: free_ports(1)[0])
    process: subprocess.Popen[bytes] | None = None
    identity: Identity | None = None

    @property
    def url(self) -> str:
        return f"redis{'s' if self.identity else ''}://:{PASSWORD}@127.0.0.1:{self.port}/0"

    def client(self) -> Redis:
        return Redis.from_url(self.url)

    def empty(self) -> None:
        with self.client() as client:
            client.flushdb()

    def start(self) -> None:
        plain = ["--port", str(self.port)]
        arguments = [
            *(_redis_tls(self.identity, self.port) if self.identity else plain),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--requirepass",
            PASSWORD,
        ]
        self.process = start(
            [program("redis-server"), *arguments, "--dir", str(self.folder)], self.folder / "redis.log"
        )
        wait_until(lambda: listens(self.port), self.process, self.folder / "redis.log")

    def stop(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stall(self) -> None:
        """It accepts connections and says nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


@dataclass
class PostgresServer:
    """A PostgreSQL with an empty database, run by another user where the tests are root's: it refuses to be root's.

    With an identity, whose files are made its user's, it speaks TLS as well.
    """

    folder: Path
    port: int = field(default_factory=lambda: free_ports(1)[0])
    process: subprocess.Popen[bytes] | None = None
    numbers: Iterator[int] = field(default_factory=itertools.count)
    identity: Identity | None = None

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str, driver: str = "postgresql+psycopg") -> str:
        return f"{driver}://recsys:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """URL of an empty one beside the others."""
        name = f"own_{next(self.numbers)}"
        with psycopg.connect(self.url_of("postgres", "postgresql"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url_of(name)

    def start(self) -> None:
        initdb, postgres = program("initdb"), program("postgres")
        user = unprivileged()
        secret, log = self.folder / "secret", self.folder / "postgres.log"
        secret.write_text(PASSWORD)
        if user is not None:
            for path in (self.folder, secret):
                shutil.chown(path, user, pwd.getpwnam(user).pw_gid)
        identity = ["--username", "recsys", "--pwfile", str(secret), "--auth", "scram-sha-256"]
        start([initdb, "--no-sync", *identity, "-D", str(self.folder / "data")], log, user).wait()
        fast = ["-c", "fsync=off", "-c", f"unix_socket_directories={self.folder}", "-h", "127.0.0.1"]
        if self.identity is not None:
            give(self.identity, user)
            fast += [
                "-c",
                "ssl=on",
                "-c",
                f"ssl_cert_file={self.identity.certificate}",
                "-c",
                f"ssl_key_file={self.identity.key}",
            ]
        self.process = start([postgres, "-D", str(self.folder / "data"), "-p", str(self.port), *fast], log, user)
        is_ready = [program("pg_isready"), "--quiet", "--host", "127.0.0.1", "--port", str(self.port)]
        wait_until(lambda: subprocess.run(is_ready, check=False).returncode == 0, self.process, log)

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)  # "fast": connections are ended
        self.process.wait()


@dataclass
class KafkaServer:
    """A broker that is its own controller, of topics that tests make; it can be killed and started again on its port.

    One port is open to all, one asks for TLS and a password (SCRAM-SHA-512).

    Attributes:
        ports: Of clients of this machine, of the controller, and the one that is guarded.
        host: Address of the guarded port.
        guarded: Name and port by which its clients know it; of this machine where left out.
    """

    folder: Path
    ports: list[int] = field(default_factory=lambda: free_ports(3))
    host: str = "127.0.0.1"
    guarded: str = ""
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.guarded = self.guarded or f"localhost:{self.ports[2]}"

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.ports[0]}"

    @property
    def authority(self) -> Path:
        """PEM file of who signed the broker's certificate: itself."""
        return self.folder / "ca.crt"

    def start(self) -> None:
        java, home, data, log = program("java"), kafka_home(), self.folder / "data", self.folder / "kafka.log"
        if not data.exists():
            shutil.copytree(home / "formatted", data)
            key, certificate = self_signed(self.guarded.partition(":")[0])
            (self.folder / "broker.pem").write_bytes(key + certificate)
            self.authority.write_bytes(certificate)
        (self.folder / "server.properties").write_text(
            KAFKA.format(*self.ports, folder=self.folder, host=self.host, guarded=self.guarded)
        )
        quick = ["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", f"-XX:SharedArchiveFile={home}/broker.jsa"]
        command = [java, *quick, "-cp", "lib/*", "kafka.Kafka", str(self.folder / "server.properties")]
        self.process = start(command, log, folder=home)  # the archive of classes knows them by relative paths
        wait_until(lambda: listens(self.ports[0]), self.process, log)

    def stop(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


KAFKA = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{1}
listeners=PLAINTEXT://127.0.0.1:{0},CONTROLLER://127.0.0.1:{1},SASL_SSL://{host}:{2}
advertised.listeners=PLAINTEXT://127.0.0.1:{0},SASL_SSL://{guarded}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PEM
ssl.keystore.location={folder}/broker.pem
log.dirs={folder}/data
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
# A broker that was killed may come back within seconds, and consumers may ask to be missed as soon.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
group.min.session.timeout.ms=500
group.initial.rebalance.delay.ms=0
"""


def _redis_tls(identity: Identity, port: int) -> list[str]:
    files = ["--tls-cert-file", str(identity.certificate), "--tls-key-file", str(identity.key)]
    return ["--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no", *files]


def give(identity: Identity, user: str | None) -> None:
    """To a server's user, who alone may read the key."""
    identity.key.chmod(0o400)
    if user is not None:
        for path in (identity.key, identity.certificate):
            shutil.chown(path, user, pwd.getpwnam(user).pw_gid)


def kafka_home() -> Path:
    """Where .ci/kafka puts the broker. Without it the test is skipped, and in CI failed."""
    home = Path(__file__).parents[1] / ".servers" / "kafka"
    if (home / "pom.xml").exists():  # which is written last
        return home
    said = "Kafka is not installed: .ci/kafka (43 MB; Java and mvn), or `make servers`"
    if os.environ.get("CI") == "true":
        pytest.fail(said)
    pytest.skip(said)


def self_signed(name: str) -> tuple[bytes, bytes]:
    """Key and certificate of a host that vouches for itself, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    until = now + timedelta(days=1)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number(), now, until)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private, certificate.public_bytes(Encoding.PEM)


def own_folder() -> Path:
    """One that another user can reach: pytest's own temporary folders are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="recsys-tests-"))
    folder.chmod(0o755)
    return folder


def unprivileged() -> str | None:
    """Who runs what root may not."""
    if os.getuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def start(
    command: Sequence[str], log: Path, user: str | None = None, *, folder: Path = Path("/")
) -> subprocess.Popen[bytes]:
    group = None if user is None else pwd.getpwnam(user).pw_gid
    groups = None if user is None else []
    with log.open("ab") as output:
        return subprocess.Popen(
            command, stdout=output, stderr=output, cwd=folder, user=user, group=group, extra_groups=groups
        )


def wait_until(is_there: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while not is_there():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(POLL_SECONDS)


def listens(port: int) -> bool:
    with socket.socket() as one:
        one.settimeout(1.0)
        return one.connect_ex(("127.0.0.1", port)) == 0
