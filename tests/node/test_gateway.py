"""The public gateway: components envoy-gateway, gateway-jwt and gateway-tls, with Envoy Gateway's own controller and its Envoy.

A client outside of the cluster asks over TLS. Tests go in their order: each stands on what the ones before it brought about.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.certificates import Authority
from tests.cluster.control_plane import CACHE
from tests.cluster.kubectl import kubectl, listed
from tests.k8s.manifests import Resource, patch, readmes_patches
from tests.node.gateway import CONTROLLERS, HOST, ITS_PODS, Gateway, gateway
from tests.node.installation import (
    NAMESPACE,
    READY_SECONDS,
    Asking,
    Shop,
    in_namespace,
    installed,
    names,
    need_controller,
    serve_first_bundle,
    until,
)
from tests.node.node import ADDRESS
from tests.node.place import Place, ctr
from tests.serving.api.identity import AUDIENCE, ISSUER, NOW, Provider, provider

pytestmark = [pytest.mark.node, pytest.mark.timeout(1500)]

PLAIN = ("standard-canary", "network-policies", "envoy-gateway")
ENCRYPTED = (*PLAIN, "gateway-tls")
ASKED: dict[str, str | int] = {"user_id": "u1", "k": 3}
PAGE, OTHER_PAGE = "https://shop.example", "https://other.example"
DOOR = "recsys-door"
DOORS = f"app.kubernetes.io/name={DOOR}"
RULE = f"httproute/{NAMESPACE}/recsys-door/rule/0"
"""What the controller calls what becomes of it."""


@pytest.fixture(scope="module", params=[PLAIN, ENCRYPTED], ids=["plain", "tls"])
def shop(request, tmp_path_factory) -> Iterator[Shop]:
    need_controller(CONTROLLERS, "envoy-gateway", "node-gateway")
    with installed(request.param, tmp_path_factory.mktemp("keys")) as made:
        serve_first_bundle(made, made.manifests(tmp_path_factory.mktemp("overlay")))
        yield made


@pytest.fixture(scope="module")
def public(shop, tmp_path_factory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("public")) as made:
        yield made


@pytest.fixture(scope="module")
def shops(shop, public) -> Iterator[httpx.Client]:
    """Somebody with an API key."""
    with public.client(Authorization=f"Bearer {shop.key}") as client:
        yield client


@pytest.fixture(scope="module")
def identity() -> Iterator[Provider]:
    with provider(ADDRESS) as made:
        yield made


def test_gateway_takes_route_and_policies(shop, public):
    kinds = ["httproute", "backendtrafficpolicy", *(["backendtlspolicy"] if shop.authority else [])]
    for kind in kinds:
        until(f"{kind} taken", lambda kind=kind: _is_taken(kind))


def test_recommendation_comes_through_the_gateway(shop, shops):
    """Through the network policies, and over TLS to the door where that speaks it."""
    until("an answer", lambda: _asked(shops).status_code == 200)
    answer = _asked(shops)
    assert (answer.json()["bundle_id"], len(answer.json()["items"])) == (shop.bundles[0], 3)
    assert answer.headers["x-query-id"]
    assert shops.get("/openapi.json").status_code == 200


def test_who_has_no_key_is_refused_by_the_door(public):
    with public.client() as nobody:
        answer = _asked(nobody)
    assert (answer.status_code, "error" in answer.json()) == (401, True)


@pytest.mark.parametrize(
    "path",
    ["/metrics", "/readyz", "/healthz", "/console", "/", "/v1/../metrics", "/v1/%2e%2e/metrics", "/v1/%2E%2E%2Fmetrics",
     "/openapi.json/../readyz"],
)  # fmt: skip
def test_what_is_not_public_is_not_reached(shops, path):
    """However it is written: a redirect to the same path without detours is the gateway's answer to some."""
    request = shops.build_request("GET", "/")
    request.extensions["target"] = path.encode()
    answer = shops.send(request)
    if answer.is_redirect:
        answer = shops.get(answer.headers["location"].removeprefix(f"https://{HOST}"))
    assert (answer.status_code, answer.content) == (404, b"")


def test_another_host_has_no_route(shop, public):
    with public.client(Authorization=f"Bearer {shop.key}", Host="other.example.com") as client:
        assert _asked(client).status_code == 404


def test_envoy_has_the_bounds_of_the_manifests(shops):
    dump = _config_dump()
    assert {one["timeout"] for one in _holding(dump, "cluster", RULE) if "timeout" in one} == {"6s"}
    [cluster] = [one for one in _holding(dump, "name", RULE) if "circuit_breakers" in one]
    [bounds] = cluster["circuit_breakers"]["thresholds"]
    assert (bounds["max_pending_requests"], bounds["max_requests"]) == (256, 512)
    [protocol] = cluster["typed_extension_protocol_options"].values()
    assert protocol["common_http_protocol_options"]["idle_timeout"] == "4s"


def test_door_that_does_not_answer_is_not_waited_for(shops):
    """Until the route's six seconds are over: the door's own deadline is no help where it stands still."""
    with _standing_still():
        answer = _asked(shops)
    assert (answer.status_code, answer.text) == (504, "upstream request timeout")
    assert answer.elapsed.total_seconds() >= 6
    until("the door's return", lambda: _asked(shops).status_code == 200)


def test_limit_of_the_gateway_acts(shop, shops, tmp_path):
    """By a lower one: two cores send no 2,000 requests a second."""
    lower = ("replace", "/spec/rateLimit/local/rules/0/limit", {"requests": 3, "unit": "Hour"})
    _apply(replace(shop, patches=(patch("BackendTrafficPolicy", DOOR, lower),)), tmp_path)
    until("a refusal", lambda: _asked(shops).status_code == 429)
    assert _asked(shops).text == "local_rate_limited"
    _apply(shop, tmp_path)
    until("an end of it", lambda: _asked(shops).status_code == 200)


def test_new_doors_take_over_without_a_lost_request(shop, shops, public):
    with Asking(lambda: public.client(Authorization=f"Bearer {shop.key}")) as asking:
        in_namespace("rollout", "restart", "deployment/recsys-door")
        in_namespace("rollout", "status", "deployment/recsys-door", f"--timeout={READY_SECONDS}s")
        time.sleep(10)
    assert (asking.failures, asking.fallbacks) == ([], [])
    assert set(asking.answered) == {("stable", shop.bundles[0])}


def test_page_of_a_named_origin_asks_through_the_gateway(shop, shops, public, tmp_path):
    named = ("add", "/data/RECSYS_API_ALLOWED_ORIGINS", PAGE)
    _apply(replace(shop, patches=(patch("ConfigMap", DOOR, named),)), tmp_path)
    until("a door that knows the page", lambda: _may_ask(public, PAGE))
    assert not _may_ask(public, OTHER_PAGE)
    answer = _asked(shops, Origin=PAGE)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, PAGE)
    assert "x-query-id" in answer.headers["access-control-expose-headers"].lower()
    assert "access-control-allow-origin" not in _asked(shops, Origin=OTHER_PAGE).headers


def test_door_of_another_authority_is_not_asked(shop, shops, tmp_path):
    """By the ConfigMap that k8s/README.md says, which every gateway reads, and which is another's for a while."""
    if shop.authority is None:
        pytest.skip("nothing is verified over plain HTTP")
    _put_authority(shop.authority)
    _apply(replace(shop, patches=tuple(readmes_patches("BackendTLSPolicy"))), tmp_path)
    until("the policy", lambda: _is_taken("backendtlspolicy"))
    _put_authority(Authority(tmp_path, "another").file)
    until("a refusal", lambda: _asked(shops).status_code == 503)
    until("the reason in Envoy's log", lambda: "CERTIFICATE_VERIFY_FAILED" in _envoys_log())
    _put_authority(shop.authority)
    until("an answer", lambda: _asked(shops).status_code == 200)
    _apply(shop, tmp_path)


def test_tokens_pass_the_gateway_and_keys_do_not(shop, public, identity, tmp_path):
    """The door reads the same tokens, and their scopes."""
    _tell_keys(identity)
    _apply(_with_tokens(shop, identity), tmp_path)
    with public.client() as client:
        until("a token's answer", lambda: _asked(client, Authorization=_bearer(identity, "rsa-1")).status_code == 200)
        assert _asked(client, Authorization=_bearer(identity, "ec-1")).json()["bundle_id"] == shop.bundles[0]
        for status, said, headers in (
            (401, "Jwt is missing", {}),
            (401, "Jwt is missing", {"X-API-Key": shop.key}),
            (401, "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections", {
                "Authorization": f"Bearer {shop.key}",
            }),
            (401, "Jwt is expired", {"Authorization": _bearer(identity, "rsa-1", exp=NOW)}),
            (403, "Audiences in Jwt are not allowed", {"Authorization": _bearer(identity, "rsa-1", aud="another")}),
            (401, "Jwt issuer is not configured", {"Authorization": _bearer(identity, "rsa-1", iss="https://else.example")}),
        ):  # fmt: skip
            answer = _asked(client, **headers)
            assert (answer.status_code, answer.text) == (status, said)
        unfit = _asked(client, Authorization=_bearer(identity, "rsa-1", scope="else"))
    assert (unfit.status_code, "error" in unfit.json()) == (403, True)


def test_page_asks_through_a_gateway_that_wants_tokens_once_the_policy_names_it(shop, public, identity, tmp_path):
    """As k8s/README.md has it: what a browser asks beforehand brings no token."""
    assert _asked_beforehand(public, PAGE).status_code == 401
    _apply(_with_tokens(shop, identity, *readmes_patches("SecurityPolicy")), tmp_path)
    until("a gateway that knows the page", lambda: _may_ask(public, PAGE))
    assert not _may_ask(public, OTHER_PAGE)
    with public.client(Origin=PAGE) as client:
        answer = _asked(client, Authorization=_bearer(identity, "rsa-1"))
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, PAGE)
        assert "x-query-id" in answer.headers["access-control-expose-headers"].lower()
        refused = _asked(client)
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, PAGE)


def _asked(client: httpx.Client, **headers: str) -> httpx.Response:
    return client.get("/v1/recommendations", params=ASKED, headers=headers)


def _asked_beforehand(public: Gateway, origin: str) -> httpx.Response:
    """What a browser asks before it lets a page of this origin ask with a key or a token."""
    with public.client(Origin=origin) as browser:
        return browser.options("/v1/recommendations", headers={
            "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization",
        })  # fmt: skip


def _may_ask(public: Gateway, origin: str) -> bool:
    answer = _asked_beforehand(public, origin)
    allowed = answer.headers.get("access-control-allow-headers", "").lower()
    return (
        answer.is_success and answer.headers.get("access-control-allow-origin") == origin and "authorization" in allowed
    )


def _bearer(identity: Provider, kid: str, **claims: Any) -> str:
    return f"Bearer {identity.token(kid, **claims)}"


def _is_taken(kind: str) -> bool:
    """Whether the controller has nothing against the resource `recsys-door` of this kind."""
    status = in_namespace("get", kind, "recsys-door", "-o", "json").json.get("status", {})
    said = [one for part in ("parents", "ancestors") for who in status.get(part, []) for one in who["conditions"]]
    return bool(said) and all(one["status"] == "True" for one in said)


def _apply(shop: Shop, folder: Path) -> None:
    """Until no door of before is left."""
    kubectl("apply", "-f", "-", stdin=listed(shop.manifests(folder)))
    in_namespace("rollout", "status", "deployment/recsys-door", f"--timeout={READY_SECONDS}s")
    until("an end of the former doors", lambda: len(names("pods", "-l", DOORS)) == 1)


def _with_tokens(shop: Shop, identity: Provider, *further: Resource) -> Shop:
    """Component gateway-jwt in place of envoy-gateway, with this provider in both places."""
    named = {"name": "test", "issuer": ISSUER, "audiences": [AUDIENCE], "remoteJWKS": {"uri": identity.url}}
    door = {"ISSUER": ISSUER, "AUDIENCE": AUDIENCE, "JWKS": "/etc/recsys-keys/jwks.json"}
    return replace(
        shop,
        components=tuple("gateway-jwt" if one == "envoy-gateway" else one for one in shop.components),
        patches=(
            patch("SecurityPolicy", DOOR, ("replace", "/spec/jwt/providers/0", named)),
            patch("ConfigMap", DOOR, *(("replace", f"/data/RECSYS_API_JWT_{name}", value) for name, value in door.items())),
            *further,
        ),
    )  # fmt: skip


def _tell_keys(identity: Provider) -> None:
    """To the door, as a file beside its own keys: at an address it asks over https alone."""
    keys = json.dumps({"stringData": {"jwks.json": identity.jwks().decode()}})
    in_namespace("patch", "secret", "recsys-door-keys", "-p", keys)


def _put_authority(file: Path) -> None:
    """As step 4 of k8s/README.md does, or in its place."""
    made = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "recsys-ca", "namespace": NAMESPACE},
        "data": {"ca.crt": file.read_text()},
    }
    kubectl("apply", "-f", "-", stdin=listed([made]))


@contextmanager
def _standing_still() -> Iterator[None]:
    """The one door, whose processes the node stops."""
    [pod] = in_namespace("get", "pods", "-l", DOORS, "-o", "json").json["items"]
    [container] = [one["containerID"].removeprefix("containerd://") for one in pod["status"]["containerStatuses"]]
    tasks = subprocess.run([*ctr(Place(CACHE)), "tasks", "list"], check=True, stdout=subprocess.PIPE, text=True).stdout
    [number] = [int(line.split()[1]) for line in tasks.splitlines() if line.startswith(container)]
    first = psutil.Process(number)
    processes = [first, *first.children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


def _envoys_log() -> str:
    return kubectl("-n", CONTROLLERS, "logs", "-l", ITS_PODS, "-c", "envoy", "--tail=10").out


def _config_dump() -> Any:
    """What Envoy does at the moment, as itself tells it in its pod."""
    [pod] = kubectl("-n", CONTROLLERS, "get", "pods", "-l", ITS_PODS, "-o", "name").out.split()
    code = "import urllib.request as web; print(web.urlopen('http://127.0.0.1:19000/config_dump').read().decode())"
    return kubectl("-n", CONTROLLERS, "exec", pod, "-c", "envoy", "--", "python3", "-c", code).json


def _holding(part: Any, key: str, value: str) -> Iterator[dict[str, Any]]:
    """What has this value under this key, however deep."""
    if isinstance(part, dict):
        if part.get(key) == value:
            yield part
        part = list(part.values())
    if isinstance(part, list):
        for one in part:
            yield from _holding(one, key, value)
