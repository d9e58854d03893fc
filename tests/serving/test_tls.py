"""Door and server processes over TLS on loopback: who is believed, who is refused, and what a renewed certificate does."""

import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx
import pytest

from components.artifacts.errors import ConfigError
from pipelines.readiness import readyz
from pipelines.server_process import RunningServer, server
from serving.api.assignment import Experiment, put_experiment
from serving.api.settings import door_settings
from serving.settings import settings_from_environment
from serving.tls import LOOK_SECONDS, Identity, asking, listening
from tests.certificates import Authority, serial_of, shown
from tests.serving.api.doors import door, make_key, troubled_server
from tests.serving.conftest import SERVED_FROM

QUESTION = {"user_id": "u2", "request_time": SERVED_FROM.isoformat()}
PATIENCE_SECONDS = 20.0


@dataclass(frozen=True)
class Secured:
    """A server that answers callers of its own authority, and what a door needs to be one."""

    server: RunningServer
    authority: Authority
    identity: Identity

    @property
    def trust(self) -> dict[str, Path]:
        """The door's settings."""
        own = self.authority.issue("door", "recsys-door")
        return {
            "upstream_ca": self.authority.file,
            "upstream_certificate": own.certificate,
            "upstream_key": own.key,
        }


@pytest.fixture(scope="module")
def secured(trained, tmp_path_factory) -> Iterator[Secured]:
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    identity = authority.issue("server", "127.0.0.1")
    settings: dict[str, Any] = {
        "tls_certificate": identity.certificate,
        "tls_key": identity.key,
        "tls_client_ca": authority.file,
    }
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RECSYS_API_UPSTREAM_CA", str(authority.file))  # what waits for the server is told as a door is
        with server(trained.home, accept_request_time=True, **settings) as running:
            patched.undo()
            yield Secured(running, authority, identity)


@contextmanager
def asked(home: Path, behind: str, **settings: Any) -> Iterator[httpx.Client]:
    """A client of a door, which is plain unless the settings say otherwise."""
    headers = make_key(home)
    with door(home, behind, **settings) as url, httpx.Client(base_url=url, headers=headers, timeout=10.0) as client:
        yield client


def logged(home: Path, sentence: str) -> str:
    """The door's log once it says something; it is written by another process."""
    end = time.monotonic() + PATIENCE_SECONDS
    while sentence not in (text := (home / "door.log").read_text()) and time.monotonic() < end:
        time.sleep(0.05)
    assert sentence in text, text
    return text


def test_door_and_server_speak_tls_and_answer(secured, tmp_path):
    authority = Authority(tmp_path, "public")
    own = authority.issue("front")
    make = {"tls_certificate": own.certificate, "tls_key": own.key, **secured.trust}
    headers = make_key(tmp_path)
    with door(tmp_path, secured.server.url, accept_request_time=True, **make) as url:
        assert url.startswith("https://")
        with httpx.Client(base_url=url, headers=headers, verify=asking(authority.file)) as client:
            answer = client.post("/v1/recommendations", json=QUESTION)
            assert answer.status_code == 200, answer.text
            assert "x-recsys-fallback" not in answer.headers
            assert client.get("/readyz").json() == {"ready": True, "degraded": False}
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"{url}/healthz", verify=asking(secured.authority.file))
        with pytest.raises(httpx.RemoteProtocolError):  # no HTTP beside it
            httpx.get(f"http://{urlsplit(url).netloc}/healthz")


@pytest.mark.parametrize(
    ("wrong", "reason", "sentence"),
    [
        ("authority", "tls", "CERTIFICATE_VERIFY_FAILED"),
        ("name", "tls", "Hostname mismatch, certificate is not valid for 'localhost'"),
        ("no certificate", "tls", "does not know the door"),
        ("foreign certificate", "gone", "ends connections: it stopped, or does not believe upstream_certificate"),
    ],
)
def test_door_and_server_that_do_not_believe_each_other_give_no_answer_and_say_why(
    secured, tmp_path, wrong, reason, sentence
):
    trust, other, url = secured.trust, Authority(tmp_path, "other"), secured.server.url
    if wrong == "authority":
        trust["upstream_ca"] = other.file
    if wrong == "name":
        url = url.replace("127.0.0.1", "localhost")
    if wrong == "no certificate":
        trust = {"upstream_ca": secured.authority.file}
    if wrong == "foreign certificate":
        foreign = other.issue("door", "recsys-door")
        trust |= {"upstream_certificate": foreign.certificate, "upstream_key": foreign.key}
    with asked(tmp_path, url, **trust) as client:
        answer = client.post("/v1/events", json={"events": []})
        assert answer.status_code in {502, 503}, answer.text
        assert "certificate" not in answer.text.lower()
        counted = client.get("/metrics").text
    assert f'recsys_api_upstream_errors_total{{reason="{reason}",upstream="stable"}} 1.0' in counted
    logged(tmp_path, sentence)


def test_stranger_gets_health_and_metrics_and_nothing_else(secured):
    with httpx.Client(base_url=secured.server.url, verify=asking(secured.authority.file)) as stranger:
        for path in ("/healthz", "/readyz", "/metrics"):
            assert stranger.get(path).status_code == 200, path
        asked = [
            stranger.post("/v1/recommendations", json=QUESTION),
            stranger.get("/v1/recommendations", params=QUESTION),
            stranger.post("/v1/models/recommender:predict", json={"instances": [QUESTION]}),
            stranger.post("/v1/events", json={"events": []}),
            stranger.get("/docs"),
            stranger.get("/healthz/../v1/recommendations"),
        ]
    assert {answer.status_code for answer in asked} == {403}
    assert asked[0].json() == {"error": "only callers with a certificate that was made for it are answered here."}


def test_certificate_of_another_authority_ends_the_handshake(secured, tmp_path):
    foreign = Authority(tmp_path, "other").issue("door", "recsys-door")
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{secured.server.url}/healthz", verify=asking(secured.authority.file, foreign))


def test_grpc_speaks_tls_to_callers_of_the_authority_alone(secured):
    own = secured.authority.issue("grpc-client", "recsys-door")
    ca, target = secured.authority.file.read_bytes(), f"127.0.0.1:{secured.server.grpc_port}"
    known = grpc.ssl_channel_credentials(ca, own.key.read_bytes(), own.certificate.read_bytes())

    def live(channel: grpc.Channel) -> bytes:
        with channel:
            return channel.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"", timeout=10)

    assert live(grpc.secure_channel(target, known)) == b"\x08\x01"
    for stranger in (grpc.secure_channel(target, grpc.ssl_channel_credentials(ca)), grpc.insecure_channel(target)):
        with pytest.raises(grpc.RpcError) as refused:
            live(stranger)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_older_tls_is_refused(secured):
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(secured.authority.file)
    old.set_ciphers("ALL:@SECLEVEL=0")
    assert httpx.get(f"{secured.server.url}/healthz", verify=old).status_code == 200  # what else is as it should be
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{secured.server.url}/healthz", verify=old)


def test_renewed_certificate_is_shown_without_a_restart_and_an_unusable_one_is_not(secured):
    port, authority = urlsplit(secured.server.url).port, secured.authority.file
    before = shown(port, authority)
    renewed = serial_of(secured.authority.issue("server", "127.0.0.1"))
    assert renewed != before
    assert until(lambda: shown(port, authority) == renewed)
    assert until(lambda: shown(secured.server.grpc_port, authority) == renewed)
    good = secured.identity.certificate.read_bytes()
    secured.identity.certificate.write_bytes(good[:100])
    try:
        assert until(lambda: "certificates are not renewed" in said(secured))
        assert shown(port, authority) == renewed
    finally:
        secured.identity.certificate.write_bytes(good)


def said(secured: Secured) -> str:
    """The server's log after one more connection."""
    httpx.get(f"{secured.server.url}/healthz", verify=asking(secured.authority.file))
    return secured.server.log.read_text()


def until(is_so) -> bool:
    end = time.monotonic() + PATIENCE_SECONDS
    while not (found := is_so()) and time.monotonic() < end:
        time.sleep(LOOK_SECONDS / 5)
    return found


def test_door_believes_a_renewed_authority_without_a_restart(secured, tmp_path):
    trusted = tmp_path / "trusted.crt"
    trusted.write_bytes(Authority(tmp_path, "former").file.read_bytes())
    with asked(tmp_path, secured.server.url, **(secured.trust | {"upstream_ca": trusted})) as client:
        assert client.get("/readyz").status_code == 503
        trusted.write_bytes(secured.authority.file.read_bytes())
        assert until(lambda: client.get("/readyz").status_code == 200)


def test_server_without_tls_is_not_asked(secured, tmp_path):
    with pytest.raises(
        ConfigError, match=r"upstreams stable=http://127\.0\.0\.1:8180: expected https, since upstream_ca says"
    ):
        door_settings({"upstream_ca": secured.authority.file})
    with troubled_server() as plain, asked(tmp_path, plain.replace("http:", "https:"), **secured.trust) as client:
        assert client.get("/v1/recommendations", params={"user_id": "u1"}).status_code == 503
    assert "no trusted connection" in logged(tmp_path, "server stable at")


def test_candidate_without_tls_gets_no_user(secured, tmp_path):
    """A rollout's target that was written before TLS was switched on."""
    with troubled_server() as plain:
        put_experiment(tmp_path, Experiment(name="spring", canary_share=1.0, url=plain))
        with asked(tmp_path, secured.server.url, accept_request_time=True, **secured.trust) as client:
            answer = client.post("/v1/recommendations", json=QUESTION)
    assert (answer.status_code, answer.json().get("variant")) == (200, "stable"), answer.text
    assert f"server canary at {plain}: not asked, expected https" in logged(tmp_path, "server canary")


def test_name_in_a_callers_certificate_is_one_that_is_meant(tmp_path):
    authority = Authority(tmp_path)
    own = authority.issue("front")
    settings = {
        "tls_certificate": own.certificate,
        "tls_key": own.key,
        "tls_client_ca": authority.file,
        "tls_client_names": "recsys-gateway, recsys-operations",
    }
    with door(tmp_path, "http://127.0.0.1:9", **settings) as url:
        for name, status in (("recsys-gateway", 200), ("recsys-redis", 403)):
            caller = asking(authority.file, authority.issue(name, name))
            assert httpx.get(f"{url}/openapi.json", verify=caller).status_code == status, name


def test_what_asks_for_readiness_says_that_a_certificate_is_not_believed(secured, tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_API_UPSTREAM_CA", str(Authority(tmp_path, "other").file))
    with pytest.raises(ConfigError, match=r"CERTIFICATE_VERIFY_FAILED.*RECSYS_API_UPSTREAM_CA names the file"):
        readyz(secured.server.url, seconds=10.0)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"tls_key": "k"}, "tls_certificate and tls_key: one without the other"),
        ({"tls_client_ca": "c"}, "tls_client_ca needs tls_certificate"),
        ({"tls_client_names": "a"}, "tls_client_names needs tls_client_ca"),
        (
            {"tls_certificate": "c", "tls_key": "k", "tls_client_ca": "c", "tls_client_names": "a"},
            "gRPC asks for a certificate and not for its name",
        ),
    ],
)
def test_settings_that_would_protect_nothing_are_refused(given, sentence):
    with pytest.raises(ConfigError, match=sentence):
        settings_from_environment(given)


def test_files_that_cannot_be_used_are_named(tmp_path):
    authority = Authority(tmp_path)
    one, other = authority.issue("one"), authority.issue("other")
    with pytest.raises(ConfigError, match=r"one\.crt with key .*other\.key: cannot be used \(.*MISMATCH"):
        listening(Identity(one.certificate, other.key), None)
    with pytest.raises(ConfigError, match=r"gone\.crt: No such file or directory. Expected a PEM file"):
        asking(tmp_path / "gone.crt")
    (tmp_path / "empty.crt").touch()
    with pytest.raises(ConfigError, match=r"empty\.crt: cannot be used .*Expected certificates in PEM"):
        listening(one, tmp_path / "empty.crt")
