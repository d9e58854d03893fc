"""Tokens of an identity provider, with real keys, from its address and from a file."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from components.artifacts.errors import ConfigError
from serving.api import tokens
from serving.api.errors import OverloadedError, UnauthorisedError
from serving.api.settings import DoorSettings, door_settings
from serving.api.tokens import Tokens
from tests.serving.api.doors import door, make_key, troubled_server
from tests.serving.api.identity import (
    AUDIENCE,
    ISSUER,
    NOW,
    Provider,
    ec_key,
    good_claims,
    jwk,
    provider,
    public_pem,
    rsa_key,
)


@pytest.fixture
def idp() -> Iterator[Provider]:
    with provider() as one:
        yield one


def taking(idp: Provider, home: Path, **settings: Any) -> Tokens:
    given = {"jwt_jwks": idp.url, "jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, **settings}
    return Tokens(DoorSettings(home=home, **given))


def caller_of(taken: Tokens, token: str) -> Any:
    return asyncio.run(_caller(taken, token))


async def _caller(taken: Tokens, token: str) -> Any:
    return await taken.caller(token)


def refusal(taken: Tokens, token: str) -> str:
    with pytest.raises(UnauthorisedError) as refused:
        caller_of(taken, token)
    return str(refused.value)


@pytest.mark.parametrize("kid", ["rsa-1", "ec-1"])
def test_token_of_either_kind_says_who_asks_and_what_is_permitted(idp, tmp_path, kid):
    caller = caller_of(taking(idp, tmp_path), idp.token(kid, sub="shop"))
    assert (caller.name, caller.scopes) == ("shop", ("recommend", "events"))
    assert caller.label == "token"


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"exp": NOW}, "expired"),
        ({"nbf": NOW + 10**10}, "not valid yet"),
        ({"iat": NOW + 10**10}, "not valid yet"),
        ({"aud": "another"}, "for another audience"),
        ({"iss": "https://evil.example"}, "of another issuer"),
        ({"exp": None}, "not understood"),
        ({"aud": None}, "not understood"),
        ({"sub": None}, "not understood"),
        ({"sub": 5}, "not understood"),
        ({"exp": "soon"}, "not understood"),
        ({"exp": 1e400}, "not understood"),
    ],
)
def test_claims_that_do_not_hold_are_named(idp, tmp_path, claims, said):
    assert refusal(taking(idp, tmp_path), idp.token("rsa-1", **claims)) == f"token: {said}."


def unsigned(_idp: Provider) -> str:
    return jwt.encode(good_claims(), None, algorithm="none", headers={"kid": "rsa-1"})


def signed_with_the_public_key_as_a_secret(idp: Provider) -> str:
    """PyJWT refuses to make one, so it is made by hand."""
    head = _part({"alg": "HS256", "typ": "JWT", "kid": "rsa-1"}) + "." + _part(good_claims())
    mac = hmac.new(public_pem(idp.keys["rsa-1"]), head.encode(), hashlib.sha256).digest()
    return head + "." + base64.urlsafe_b64encode(mac).decode().rstrip("=")


def signed_by_somebody_else(_idp: Provider) -> str:
    return jwt.encode(good_claims(), rsa_key(), algorithm="RS256", headers={"kid": "rsa-1"})


def signed_with_another_kind_of_key(idp: Provider) -> str:
    return jwt.encode(good_claims(), idp.keys["ec-1"], algorithm="ES256", headers={"kid": "rsa-1"})


def with_another_algorithm_of_the_same_key(idp: Provider) -> str:
    return jwt.encode(good_claims(), idp.keys["rsa-1"], algorithm="PS256", headers={"kid": "rsa-1"})


def with_an_extension_that_must_be_understood(idp: Provider) -> str:
    return jwt.encode(
        good_claims(), idp.keys["rsa-1"], algorithm="RS256", headers={"kid": "rsa-1", "crit": ["x"], "x": 1}
    )


def with_a_key_that_is_not_named(idp: Provider) -> str:
    return jwt.encode(good_claims(), idp.keys["rsa-1"], algorithm="RS256", headers={"kid": "rsa-9"})


def without_a_key_id_where_there_are_two_keys(idp: Provider) -> str:
    return jwt.encode(good_claims(), idp.keys["rsa-1"], algorithm="RS256")


def with_a_key_of_its_own_in_the_head(_idp: Provider) -> str:
    own = rsa_key()
    return jwt.encode(good_claims(), own, algorithm="RS256", headers={"kid": "mine", "jwk": jwk(own, "mine")})


def changed_on_the_way(idp: Provider) -> str:
    head, _, mac = idp.token("rsa-1").split(".")
    return ".".join([head, _part(good_claims(sub="admin")), mac])


@pytest.mark.parametrize(
    "make",
    [
        unsigned,
        signed_with_the_public_key_as_a_secret,
        signed_by_somebody_else,
        signed_with_another_kind_of_key,
        with_another_algorithm_of_the_same_key,
        with_an_extension_that_must_be_understood,
        with_a_key_that_is_not_named,
        without_a_key_id_where_there_are_two_keys,
        with_a_key_of_its_own_in_the_head,
        changed_on_the_way,
        lambda idp: "..",
        lambda idp: "a.b.c",
        lambda idp: _part({"alg": "RS256", "kid": ["rsa-1"]}) + "." + _part({}) + ".AA",
        lambda idp: _part([]) + "." + _part({}) + ".AA",
        lambda idp: idp.token("rsa-1", sub="x" * 9000),
        lambda idp: base64.urlsafe_b64encode(b"[" * 5000).decode() + "." + _part({}) + ".AA",
    ],
)
def test_forged_tokens_are_refused(idp, tmp_path, make):
    assert refusal(taking(idp, tmp_path), make(idp)).startswith("token: ")


def test_clock_may_be_off_by_the_leeway_and_no_more(idp, tmp_path, monkeypatch):
    import time

    now = int(time.time())
    taken = taking(idp, tmp_path, jwt_leeway_seconds=60)
    assert caller_of(taken, idp.token("rsa-1", exp=now - 30, nbf=now + 30)).name == "shop"
    assert refusal(taken, idp.token("rsa-1", exp=now - 90)) == "token: expired."
    assert refusal(taken, idp.token("rsa-1", nbf=now + 90)) == "token: not valid yet."


def test_providers_words_are_translated_and_unknown_ones_permit_nothing(idp, tmp_path):
    settings = {"jwt_scope_claim": "roles", "jwt_scopes": "read:recs=recommend,ops=metrics"}
    taken = taking(idp, tmp_path, **settings)
    assert caller_of(taken, idp.token("ec-1", roles=["ops", "read:recs", "recommend", 5])).scopes == (
        "recommend",
        "metrics",
    )
    assert caller_of(taken, idp.token("ec-1")).scopes == ()
    assert caller_of(taken, idp.token("ec-1", roles={"ops": True})).scopes == ()


def test_new_key_counts_at_once_and_strange_key_ids_do_not_make_the_door_ask_again_and_again(
    idp, tmp_path, monkeypatch
):
    taken = taking(idp, tmp_path)
    assert caller_of(taken, idp.token("rsa-1"))
    idp.keys["rsa-2"] = rsa_key()
    asked = idp.asked
    for _ in range(5):
        refusal(taken, idp.token("rsa-2"))  # within the cool-down
    assert idp.asked == asked
    monkeypatch.setattr(tokens, "COOLDOWN_SECONDS", 0.0)
    assert caller_of(taken, idp.token("rsa-2"))
    assert idp.asked == asked + 1


def test_key_that_the_provider_took_back_is_refused_after_the_next_question(idp, tmp_path, monkeypatch):
    taken = taking(idp, tmp_path)
    token = idp.token("rsa-1")
    assert caller_of(taken, token)
    del idp.keys["rsa-1"]
    assert caller_of(taken, token)  # its keys hold for jwt_refresh_seconds
    monkeypatch.setattr(tokens, "COOLDOWN_SECONDS", 0.0)
    taken._asked_at -= 301
    assert "does not name" in refusal(taken, token)


def test_while_the_provider_is_down_its_last_keys_hold_and_without_any_it_is_a_503(idp, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(tokens, "COOLDOWN_SECONDS", 0.0)
    idp.is_down = True
    taken = taking(idp, tmp_path)
    with pytest.raises(OverloadedError, match="identity provider gives no keys"):
        caller_of(taken, idp.token("rsa-1"))
    idp.is_down = False
    assert caller_of(taken, idp.token("rsa-1"))
    idp.is_down = True
    taken._asked_at -= 301
    assert caller_of(taken, idp.token("rsa-1"))
    assert "the last ones hold" in caplog.text


def test_keys_in_a_file_are_read_when_it_changes(idp, tmp_path):
    path = tmp_path / "jwks.json"
    path.write_bytes(idp.jwks())
    taken = taking(idp, tmp_path, jwt_jwks=str(path))
    old = idp.token("rsa-1")
    assert caller_of(taken, old)
    idp.keys = {"rsa-2": rsa_key()}
    path.with_suffix(".new").write_bytes(idp.jwks())
    path.with_suffix(".new").replace(path)
    assert "does not name" in refusal(taken, old)
    assert caller_of(taken, idp.token("rsa-2"))
    only = jwt.encode(good_claims(), idp.keys["rsa-2"], algorithm="RS256")  # need not name the only key
    assert caller_of(taken, only)
    path.write_text("half")
    assert caller_of(taken, only)


@pytest.mark.parametrize(
    "keys",
    [
        [],
        [{"kty": "oct", "k": "c2VjcmV0", "kid": "rsa-1"}],
        [jwk(ec_key(ec.SECP256R1()), "ec-1", use="enc")],
        [jwk(ec_key(), "ec-1", alg="ES384")],
        ["text"],
    ],
)
def test_file_without_a_key_that_could_be_used_stops_the_start(idp, tmp_path, keys):
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": keys}))
    with pytest.raises(ConfigError, match=r"jwt_jwks .*jwks\.json: no JSON Web Key Set with RSA or P-256 keys"):
        taking(idp, tmp_path, jwt_jwks=str(path))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"jwt_jwks": "jwks.json"}, "needs jwt_issuer and jwt_audience"),
        ({"jwt_jwks": "http://idp.example/jwks", "jwt_issuer": "i", "jwt_audience": "a"}, "expected https"),
        ({"jwt_scopes": "read=everything"}, "RECSYS_API_JWT_SCOPES"),
    ],
)
def test_settings_that_would_take_anybodys_token_are_refused(tmp_path, given, message):
    with pytest.raises(ConfigError, match=message):
        door_settings({"home": tmp_path, **given})


def test_door_takes_tokens_beside_keys_and_counts_each_subject_for_itself(idp, tmp_path):
    key = make_key(tmp_path, "recommend", name="legacy")
    settings = {"jwt_jwks": idp.url, "jwt_issuer": ISSUER, "jwt_audience": AUDIENCE}
    with troubled_server() as behind, door(tmp_path, behind, rate_per_second=0.01, rate_burst=2, **settings) as url:

        def ask(path: str = "/v1/recommendations", **claims: Any) -> httpx.Response:
            headers = {"authorization": f"Bearer {idp.token('ec-1', **claims)}"}
            return httpx.get(url + path, headers=headers)

        assert [ask(sub="a").status_code for _ in range(3)] == [200, 200, 429]
        assert ask(sub="b").status_code == 200
        assert httpx.get(f"{url}/v1/recommendations", headers=key).status_code == 200
        assert httpx.get(f"{url}/v1/recommendations").status_code == 401
        forbidden = ask("/metrics", sub="c")
        assert forbidden.status_code == 403
        assert forbidden.json()["error"] == "token 'c': lacks the scope metrics; it has recommend, events."
        expired = ask(exp=NOW)
        assert (expired.status_code, expired.json()["error"]) == (401, "token: expired.")
        metrics = ask("/metrics", sub="d", scope="metrics").text
        as_own_header = httpx.get(f"{url}/v1/recommendations", headers={"x-api-key": idp.token("ec-1")})
        assert as_own_header.status_code == 401  # a token is a bearer's
    assert 'recsys_api_rate_limited_total{key="token"} 1.0' in metrics
    lines = [json.loads(line) for line in (tmp_path / "door.log").read_text().splitlines()]
    assert {"a", "b", "legacy"} <= {line.get("caller") for line in lines}


def _part(content: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")
