"""Settings of the stream, the weights that it gives, and what it says of itself."""

import json
import sys
from dataclasses import fields

import httpx
import pytest
from prometheus_client import CollectorRegistry

from components.artifacts.errors import ConfigError
from components.artifacts.manifest import MANIFEST, READABLE, BundleFacts, Manifest
from pipelines.server_process import free_ports
from serving.arguments import read_arguments
from serving.settings import settings_from_environment
from serving.stream.client import open_consumer
from serving.stream.settings import PREFIX, KafkaSettings, kafka_settings
from serving.stream.status import STUCK_SECONDS, StatusServer, StreamStatus
from serving.stream.weights import ServedWeights
from tests.serving.clock import Clock

MAPPED = {"dataset": {"interactions": {"types": {"mapping": {"viewed": {"type": "click", "weight": 0.7}}}}}}
FACTS = {field.name: None for field in fields(BundleFacts)} | {"config": MAPPED}
BUNDLE = {field.name: "" for field in fields(Manifest)} | {"format_version": max(READABLE), "facts": FACTS}
BROKER = {"bootstrap_servers": "127.0.0.1:1"}


def test_every_setting_says_what_it_is_and_help_names_it():
    text = read_arguments(["--help"], "python -m serving.stream", KafkaSettings, PREFIX)
    assert text is not None
    assert all(f"{PREFIX}{name.upper()} " in text for name in KafkaSettings.model_fields)
    assert all(field.description for field in KafkaSettings.model_fields.values())


def test_without_a_broker_the_variable_is_named():
    with pytest.raises(ConfigError, match="RECSYS_KAFKA_BOOTSTRAP_SERVERS: Field required"):
        kafka_settings()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"topic": "a b"}, "RECSYS_KAFKA_TOPIC: String should match pattern"),
        ({"topic": "a", "dead_letter_topic": "a"}, "what is no event would come back for ever"),
        ({"topic": "a", "mirror_topic": "a"}, "the topic that events are taken from; they would come back"),
        ({"security_protocol": "SASL_SSL"}, "SASL_SSL needs one, for example SCRAM-SHA-512"),
        ({"start": "middle"}, "RECSYS_KAFKA_START: Input should be 'earliest' or 'latest'"),
    ],
)
def test_wrong_setting_is_named(wrong, sentence):
    with pytest.raises(ConfigError, match=sentence):
        kafka_settings(BROKER | wrong)


def test_connection_has_what_was_said_and_no_password_is_shown(monkeypatch, tmp_path):
    (tmp_path / "client.properties").write_text(
        "# ours\n\nsocket.keepalive.enable = true\nssl.ca.location=/etc/other.pem\n"
    )
    given = {
        "security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512", "sasl_username": "shop",
        "sasl_password": "s3cret", "ssl_ca": "/etc/ca.pem", "properties_file": str(tmp_path / "client.properties"),
    }  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(f"{PREFIX}{name.upper()}", value)
    settings = kafka_settings(BROKER)
    connection = settings.connection()
    assert (connection["sasl.password"], connection["sasl.mechanism"]) == ("s3cret", "SCRAM-SHA-512")
    assert (connection["socket.keepalive.enable"], connection["ssl.ca.location"]) == ("true", "/etc/other.pem")
    assert settings.dead_letters == "recsys.events.dead-letters"
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("enable.auto.commit=true", "line 1: enable.auto.commit is not to be set here"),
        ("\nsasl.password s3cret", "line 2: expected NAME=VALUE"),
        (None, "cannot be read .FileNotFoundError."),
    ],
)
def test_wrong_properties_file_is_named_without_its_values(tmp_path, text, sentence):
    path = tmp_path / "client.properties"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=sentence) as refused:
        kafka_settings(BROKER | {"properties_file": path}).connection()
    assert "s3cret" not in str(refused.value)


def test_property_that_the_client_does_not_know_is_a_refusal(tmp_path):
    (tmp_path / "client.properties").write_text("no.such.thing=1\n")
    settings = kafka_settings(BROKER | {"properties_file": tmp_path / "client.properties"})
    with pytest.raises(ConfigError, match=r'client refuses its settings: .*"no\.such\.thing"'):
        open_consumer(settings, on_commit=print, on_statistics=print)


def test_client_that_is_not_installed_is_named_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(ConfigError, match=r"pip install 'recsys-platform\[streaming\]'"):
        open_consumer(kafka_settings(BROKER), on_commit=print, on_statistics=print)


def test_events_weigh_as_in_the_data_of_the_served_bundle_and_by_their_types_before_there_is_one(tmp_path):
    clock = Clock()
    weights = ServedWeights(settings_from_environment({"home": tmp_path}), clock)
    assert weights() == {}
    model = tmp_path / "registry" / "recommender"
    manifest = model / "versions" / "b-1" / MANIFEST
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps(BUNDLE))
    (model / "aliases.json").write_text(json.dumps([{"at": "", "alias": "champion", "bundle_id": "b-1", "reason": ""}]))
    assert weights() == {}  # not asked again yet
    clock.now += 10
    assert weights() == {"click": 0.7}
    manifest.write_text("{")
    clock.now += 10
    assert weights() == {"click": 0.7}  # what cannot be read changes nothing


def test_status_says_whether_it_is_ready_and_whether_the_loop_goes_round():
    clock = Clock()
    status = StreamStatus(clock=clock)
    [port] = free_ports(1)
    server = StatusServer(status, CollectorRegistry(), host="127.0.0.1", port=port)

    def code(path: str) -> int:
        return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=5, trust_env=False).status_code

    try:
        assert (code("/healthz"), code("/readyz"), code("/metrics"), code("/other")) == (200, 503, 200, 404)
        status.has_topics = status.has_broker = True
        assert code("/readyz") == 200
        status.is_stopping = True
        assert code("/readyz") == 503
        clock.now = STUCK_SECONDS
        assert code("/healthz") == 503
        status.turned()
        assert code("/healthz") == 200
    finally:
        server.close()
