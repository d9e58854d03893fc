"""Consumer and mirror as k8s/components start them: their variables, on a real broker with TLS and a password."""

from pathlib import Path

import orjson
import pytest
import yaml

from feature_repo.store import apply
from serving.stream.mirror.mirror import FOLDER
from tests.k8s.manifests import K8S
from tests.servers import PASSWORD, KafkaServer
from tests.serving.event_process import made
from tests.serving.stream.stream_process import Topics, ids, until
from tests.serving.stream.test_mirror import append
from tests.serving.test_event_crash import logged

CONSUMER, MIRROR = K8S / "components" / "kafka" / "stream.env", K8S / "components" / "kafka-mirror" / "mirror.env"
USER = "recsys-stream"


@pytest.fixture
def guarded(kafka: KafkaServer, tmp_path) -> Topics:
    """Topics of a broker that knows one user."""
    topics = Topics(kafka.bootstrap, tmp_path)
    topics.make()
    topics.admit(USER)
    return topics


def variables(path: Path) -> dict[str, str]:
    """Of the ConfigMap, by the settings' names."""
    pairs = (line.partition("=") for line in path.read_text().split())
    return {name.removeprefix("RECSYS_KAFKA_").lower(): value for name, _, value in pairs if "KAFKA" in name}


def overlaid(kafka, password: str) -> dict[str, str]:
    """What an overlay and its Secret say."""
    own = {"bootstrap_servers": kafka.guarded, "ssl_ca": str(kafka.authority), "host": "127.0.0.1"}
    return own | {"sasl_username": USER, "sasl_password": password}


def started(kafka, guarded, home: Path, password: str):
    """A consumer with the component's variables."""
    apply(home)
    return guarded.start(home, **(variables(CONSUMER) | overlaid(kafka, password) | {"topic": guarded.name}))


def test_consumer_speaks_tls_with_its_password_as_the_component_says(kafka, guarded, tmp_path):
    assert command(CONSUMER) == ["python", "-m", "serving.stream"]
    home = tmp_path / "home"
    member = started(kafka, guarded, home, PASSWORD)
    events = made(10, 3, 3)
    guarded.send(events)
    until(lambda: member.is_ready() and guarded.left() == 0, member)
    assert member.end() == 0
    assert ids(logged(home)) == ids(events)
    assert PASSWORD not in member.log.read_text()


def command(variables: Path) -> list[str]:
    """Of the component that has these variables."""
    workload = yaml.safe_load((variables.parent / "stateful-set.yaml").read_text())
    [container] = workload["spec"]["template"]["spec"]["containers"]
    return container["command"]


def test_mirror_speaks_tls_with_its_password_and_writes_in_its_own_folder_alone(kafka, tmp_path):
    assert command(MIRROR) == ["python", "-m", "serving.stream.mirror"]
    topics, home, events = Topics(kafka.bootstrap, tmp_path), tmp_path / "home", made(10, 3, 3)
    topics.make_one(topics.name, 1)
    topics.admit(USER)
    append(home, events)
    place = home / FOLDER
    place.mkdir(parents=True)
    before = {path for path in home.rglob("*") if not path.is_relative_to(place)}
    own = overlaid(kafka, PASSWORD) | {"mirror_topic": topics.name}
    member = topics.start_mirror(home, **(variables(MIRROR) | own))
    until(lambda: member.is_ready() and member.metric("recsys_mirror_events_total") == len(events), member)
    assert member.end() == 0
    assert ids([orjson.loads(record.value() or b"") for record in topics.read(topics.name)]) == ids(events)
    assert {path for path in home.rglob("*") if not path.is_relative_to(place)} == before
    assert PASSWORD not in member.log.read_text()


def test_wrong_password_is_said_and_not_ready(kafka, guarded, tmp_path):
    member = started(kafka, guarded, tmp_path / "home", "other")
    until(lambda: "Authentication failed" in (member.log.read_text() if member.log.exists() else ""), member)
    assert not member.is_ready()
    assert member.end() == 0
