"""The stream's consumer as k8s/components/kafka starts it: its variables, on a real broker with TLS and a password."""

from pathlib import Path

import pytest
import yaml
from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from feature_repo.store import apply
from tests.k8s.manifests import K8S
from tests.servers import PASSWORD, KafkaServer
from tests.serving.event_process import made
from tests.serving.stream.stream_process import Topics, ids, until
from tests.serving.test_event_crash import logged

COMPONENT = K8S / "components" / "kafka"
USER = "recsys-stream"


@pytest.fixture
def guarded(kafka: KafkaServer, tmp_path) -> Topics:
    """Topics of a broker that knows one user."""
    topics = Topics(kafka.bootstrap, tmp_path)
    topics.make()
    credential = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
    change = UserScramCredentialUpsertion(USER, credential, PASSWORD.encode())
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    for done in admin.alter_user_scram_credentials([change]).values():
        done.result()
    return topics


def variables() -> dict[str, str]:
    """Of the ConfigMap, by the settings' names."""
    pairs = (line.partition("=") for line in (COMPONENT / "stream.env").read_text().split())
    return {name.removeprefix("RECSYS_KAFKA_").lower(): value for name, _, value in pairs if "KAFKA" in name}


def started(kafka, guarded, home: Path, password: str):
    """A consumer with the component's variables, and what an overlay and its Secret say."""
    apply(home)
    own = {
        "bootstrap_servers": kafka.guarded,
        "topic": guarded.name,
        "ssl_ca": str(kafka.authority),
        "host": "127.0.0.1",
    }
    return guarded.start(home, **(variables() | own | {"sasl_username": USER, "sasl_password": password}))


def test_consumer_speaks_tls_with_its_password_as_the_component_says(kafka, guarded, tmp_path):
    [container] = yaml.safe_load((COMPONENT / "stateful-set.yaml").read_text())["spec"]["template"]["spec"][
        "containers"
    ]
    assert container["command"] == ["python", "-m", "serving.stream"]
    home = tmp_path / "home"
    member = started(kafka, guarded, home, PASSWORD)
    events = made(10, 3, 3)
    guarded.send(events)
    until(lambda: member.is_ready() and guarded.left() == 0, member)
    assert member.end() == 0
    assert ids(logged(home)) == ids(events)
    assert PASSWORD not in member.log.read_text()


def test_wrong_password_is_said_and_not_ready(kafka, guarded, tmp_path):
    member = started(kafka, guarded, tmp_path / "home", "other")
    until(lambda: "Authentication failed" in (member.log.read_text() if member.log.exists() else ""), member)
    assert not member.is_ready()
    assert member.end() == 0
