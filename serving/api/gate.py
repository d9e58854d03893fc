"""Who may ask: the key or the token that a request brings, and what it permits."""

import base64
import binascii
from datetime import UTC, datetime

from serving.api.caller import Caller
from serving.api.errors import BadRequestError, ForbiddenError, UnauthorisedError
from serving.api.keys import SCOPES, KeyRing
from serving.api.requests import Head, is_local
from serving.api.settings import DoorSettings
from serving.api.tokens import Tokens, looks_like_token

ANYONE = Caller("anyone", "anyone", SCOPES)
"""Who asks a door without keys, which answers on loopback only."""


class Gate:
    """API keys, and tokens where the settings name a provider."""

    def __init__(self, settings: DoorSettings) -> None:
        self.keys = KeyRing(settings.keys_home)
        self.tokens = Tokens(settings) if settings.jwt_jwks else None

    async def caller(self, head: Head, *, is_page: bool = False) -> Caller:
        """Who sends a request.

        Args:
            head: The request's headers.
            is_page: Whether a browser may ask: it brings the key or token as the password of HTTP's Basic scheme.

        Raises:
            UnauthorisedError: It brings no key or token, or none that is in force.
            ForbiddenError: There are no keys, and it does not come to this machine by name.
            BadRequestError: It brings two.
        """
        self.keys.refresh()
        if not self.keys.is_locked and self.tokens is None:
            if not is_local(head):
                raise ForbiddenError("host: this door has no keys and answers to localhost only.")
            return ANYONE
        if is_page:
            return await self._of_browser(head)
        return await self._of_head(head)

    async def _of_browser(self, head: Head) -> Caller:
        try:
            return await self._of_head(_as_bearer(head))
        except UnauthorisedError as error:
            raise UnauthorisedError(
                f"{error} A browser asks for it: any name, and the key as the password.", "Basic"
            ) from error

    async def _of_head(self, head: Head) -> Caller:
        secret, is_bearer = _secret(head)
        if secret is None:
            raise UnauthorisedError("no key; expected `Authorization: Bearer KEY` or `X-API-Key: KEY`.")
        if is_bearer and self.tokens is not None and looks_like_token(secret):
            return await self.tokens.caller(secret)
        return self._of_key(secret)

    def _of_key(self, secret: str) -> Caller:
        key = self.keys.find(secret)
        state = key.state(datetime.now(UTC)) if key else "unknown"
        if key is None or state != "active":
            raise UnauthorisedError(f"key: {state}. Ask whoever runs this for a new one.")
        return Caller(key.key_id, key.name, key.scopes)


def _as_bearer(head: Head) -> Head:
    """Basic's password as a bearer's secret; whatever else was brought stays."""
    scheme, _, encoded = head.get(b"authorization", b"").partition(b" ")
    if scheme.lower() != b"basic":
        return head
    try:
        _, _, password = base64.b64decode(encoded, validate=True).partition(b":")
    except binascii.Error:
        password = b""
    return {**head, b"authorization": b"Bearer " + password}


def _secret(head: Head) -> tuple[str | None, bool]:
    """What a request brings, and whether it says that it is a bearer's.

    Raises:
        BadRequestError: It brings two.
    """
    given, own = head.get(b"authorization"), head.get(b"x-api-key")
    if given is not None and own is not None:
        raise BadRequestError("Authorization and X-API-Key: both are given, expected one.")
    if given is None:
        return (None if own is None else own.decode("latin-1")), False
    scheme, _, secret = given.decode("latin-1").partition(" ")
    return (secret.strip(), True) if scheme.lower() == "bearer" else (None, False)
