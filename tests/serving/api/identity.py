"""An identity provider with keys of its own and an address on loopback where it names them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.loopback import QuietHandler, answering

ISSUER, AUDIENCE = "https://login.example", "recsys"
NOW = 1_700_000_000


def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def ec_key(curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve or ec.SECP256R1())


def algorithm_of(key: Any) -> str:
    return "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"


def jwk(key: Any, kid: str, **facts: Any) -> dict[str, Any]:
    """The public half, as a JWKS holds it."""
    algorithm = jwt.get_algorithm_by_name(algorithm_of(key))
    return {**json.loads(algorithm.to_jwk(key.public_key())), "kid": kid, "use": "sig", **facts}


def public_pem(key: Any) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@dataclass
class Provider:
    """Signs, and names its keys.

    Attributes:
        keys: Key id to private key; change it and the next answer is another.
        asked: How often it was.
        is_down: Answers 500.
        url: Of its JWKS.
    """

    keys: dict[str, Any] = field(default_factory=dict)
    asked: int = 0
    is_down: bool = False
    url: str = ""

    def jwks(self) -> bytes:
        return json.dumps({"keys": [jwk(key, kid) for kid, key in self.keys.items()]}).encode()

    def token(self, kid: str, **claims: Any) -> str:
        key = self.keys[kid]
        return jwt.encode(good_claims(**claims), key, algorithm=algorithm_of(key), headers={"kid": kid})


def good_claims(**changes: Any) -> dict[str, Any]:
    """Claims that hold for a century; None takes one away."""
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "shop", "exp": NOW + 10**10, "scope": "recommend events"} | changes
    return {name: value for name, value in claims.items() if value is not None}


@contextmanager
def provider(host: str = "127.0.0.1") -> Iterator[Provider]:
    """With one RSA and one P-256 key, until the block ends."""
    one = Provider({"rsa-1": rsa_key(), "ec-1": ec_key()})

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            one.asked += 1
            body = one.jwks()
            self.say(500 if one.is_down else 200, body)

    with answering(Handler, host) as url:
        one.url = f"{url}/jwks.json"
        yield one
