"""Tokens of an identity provider: JWTs signed with RS256 or ES256, by keys from a JWKS that may change while the door runs.

Only what is listed here is taken: no unsigned token, no shared secret. A key decides by its own kind which algorithm holds
for it, so a token cannot choose (RFC 8725, 3.1).
"""

import asyncio
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import jwt

from components.artifacts.errors import ConfigError
from serving.api.caller import Caller
from serving.api.errors import OverloadedError, UnauthorisedError
from serving.api.keys import SCOPES, Scope
from serving.api.settings import DoorSettings

log = logging.getLogger(__name__)

ALGORITHM_OF = {("RSA", None): "RS256", ("EC", "P-256"): "ES256"}
"""Kind and curve of a key to the one algorithm that it verifies."""
REQUIRED = ("exp", "iss", "aud", "sub")
LONGEST_TOKEN = 8192
LONGEST_JWKS = 1_000_000
FETCH_SECONDS, COOLDOWN_SECONDS = 5.0, 5.0
"""Longest that the provider may take; shortest time between two questions because of a key that is not known."""
SAID: Mapping[type[Exception], str] = {
    jwt.ExpiredSignatureError: "expired",
    jwt.ImmatureSignatureError: "not valid yet",
    jwt.InvalidAudienceError: "for another audience",
    jwt.InvalidIssuerError: "of another issuer",
    jwt.InvalidSignatureError: "signature wrong",
}


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A public key and its one algorithm."""

    key: jwt.PyJWK
    algorithm: str


class Tokens:
    """Verifies tokens against the provider's keys.

    The JWKS is a file, read when it changes, or an address, asked every `jwt_refresh_seconds` and when a token names a key
    that is not known: so a new key counts at once, and one that the provider took back is refused after that time. While
    the provider does not answer, its last keys hold.
    """

    def __init__(self, settings: DoorSettings) -> None:
        assert settings.jwt_jwks is not None, "only where tokens are taken"
        self._settings, self._source = settings, settings.jwt_jwks
        self._scope_of = settings.jwt_scopes or {scope: scope for scope in SCOPES}
        self._keys: Mapping[str | None, SigningKey] = {}
        self._stamp: tuple[int, int] | None = None
        self._asked_at = float("-inf")
        self._asking = asyncio.Lock()
        if not self._is_address:
            self._read_file()

    async def caller(self, token: str) -> Caller:
        """Who sends a token.

        Raises:
            UnauthorisedError: It is no good.
            OverloadedError: There are no keys yet: the provider did not answer.
        """
        head = _head(token)
        key = await self._key(head.get("kid"))
        if head.get("alg") != key.algorithm or "crit" in head:
            raise UnauthorisedError(f"token: signed otherwise than with {key.algorithm}, which its key is for.")
        try:
            claims = jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm],
                audience=self._settings.jwt_audience,
                issuer=self._settings.jwt_issuer,
                leeway=self._settings.jwt_leeway_seconds,
                options={"require": list(REQUIRED)},
            )
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise UnauthorisedError(f"token: {SAID.get(type(error), 'not understood')}.") from error
        subject = str(claims["sub"])
        return Caller(f"token {subject}", subject, self._scopes(claims), kind="token")

    def _scopes(self, claims: Mapping[str, Any]) -> tuple[Scope, ...]:
        """What the provider's words permit here."""
        said = claims.get(self._settings.jwt_scope_claim, ())
        words = said.split() if isinstance(said, str) else said if isinstance(said, list) else ()
        permitted = {self._scope_of[word] for word in words if isinstance(word, str) and word in self._scope_of}
        return tuple(scope for scope in SCOPES if scope in permitted)

    async def _key(self, kid: Any) -> SigningKey:  # what a stranger wrote
        if not isinstance(kid, str | None):
            raise UnauthorisedError("token: not understood.")
        await self._refresh(is_unknown=kid not in self._keys)
        if not self._keys:
            raise OverloadedError("the identity provider gives no keys at the moment. Try again.")
        if kid not in self._keys:
            raise UnauthorisedError("token: signed with a key that the identity provider does not name.")
        return self._keys[kid]

    async def _refresh(self, *, is_unknown: bool) -> None:
        if not self._is_address:
            self._read_file()
            return
        age = time.monotonic() - self._asked_at
        if age < (COOLDOWN_SECONDS if is_unknown else self._settings.jwt_refresh_seconds):
            return
        async with self._asking:
            if time.monotonic() - self._asked_at >= COOLDOWN_SECONDS:  # another request has not asked meanwhile
                self._asked_at = time.monotonic()
                await self._fetch()

    async def _fetch(self) -> None:
        timeout = aiohttp.ClientTimeout(total=FETCH_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(self._source, allow_redirects=False) as answer,
            ):
                answer.raise_for_status()
                content = await answer.content.read(LONGEST_JWKS)
            self._take(content)
        except (aiohttp.ClientError, TimeoutError, jwt.PyJWTError, ValueError) as error:
            log.warning("keys of %s: the last ones hold (%r)", self._source, error)

    def _read_file(self) -> None:
        """Read the file where it changed.

        Raises:
            ConfigError: There were no keys before, and it cannot be read.
        """
        try:
            facts = os.stat(self._source)  # noqa: PTH116 - once per request
            if (facts.st_mtime_ns, facts.st_ino) == self._stamp:
                return
            with open(self._source, "rb") as file:  # noqa: PTH123 - as above
                self._take(file.read(LONGEST_JWKS))
            self._stamp = facts.st_mtime_ns, facts.st_ino
        except (OSError, jwt.PyJWTError, ValueError) as error:
            if not self._keys:
                raise ConfigError(
                    f"jwt_jwks {self._source}: no JSON Web Key Set with RSA or P-256 keys ({error!r})."
                ) from error
            log.warning("keys of %s: the last ones hold (%r)", self._source, error)

    def _take(self, content: bytes) -> None:
        """Use a key set from now on.

        Raises:
            PyJWTError: It is none.
            ValueError: It has no key that could be used.
        """
        usable = [
            SigningKey(key, ALGORITHM_OF[kind])
            for key in jwt.PyJWKSet.from_json(content.decode()).keys
            if (kind := _kind(key)) in ALGORITHM_OF
        ]
        if not usable:
            raise ValueError("no RSA or P-256 key for signatures")
        self._keys = {one.key.key_id: one for one in usable}
        if len(usable) == 1:
            self._keys = {**self._keys, None: usable[0]}  # a token need not name the only key

    @property
    def _is_address(self) -> bool:
        return self._source.startswith(("https://", "http://"))


def looks_like_token(secret: str) -> bool:
    """Whether it is written as a JWT: three parts with dots between."""
    return secret.count(".") == 2


def _head(token: str) -> Mapping[str, Any]:
    if len(token) > LONGEST_TOKEN:
        raise UnauthorisedError(f"token: over {LONGEST_TOKEN:,} characters.")
    try:
        return jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise UnauthorisedError("token: not understood.") from error


def _kind(key: jwt.PyJWK) -> tuple[str, str | None] | None:
    """Kind and curve; None for a key that is not for signatures, or says that it is for another algorithm."""
    facts: Mapping[str, Any] = key._jwk_data
    kind = (str(facts.get("kty")), facts.get("crv") if facts.get("kty") == "EC" else None)
    is_for_it = facts.get("use", "sig") == "sig" and facts.get("alg", ALGORITHM_OF.get(kind)) == ALGORITHM_OF.get(kind)
    return kind if is_for_it else None
