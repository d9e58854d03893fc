"""TLS of door and server: what each shows, whom it believes, and certificates that are renewed while it runs.

Whoever renews certificates (cert-manager) replaces the files; each new connection is made with those that are there then, and
one that is open goes on with its own. Nothing is restarted and nothing runs beside the requests.
"""

import logging
import ssl
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from starlette.types import ASGIApp, Receive, Scope, Send

from components.artifacts.errors import ConfigError
from components.artifacts.whole_file import FileStamp, stamp_of

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How often new connections look whether the files are others."""
CALLER = "recsys.caller"
"""Key of a scope: the DNS names in the caller's certificate, which was verified; absent where it showed none."""
OPEN_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
"""Answered without a client's certificate: the kubelet's probes show none, and Prometheus need not have one."""
FORBIDDEN = 403

States = tuple[FileStamp, ...]


@dataclass(frozen=True, slots=True)
class Identity:
    """What a process shows of itself.

    Attributes:
        certificate: PEM file, its own certificate first and then those that lead to the authority.
        key: PEM file without a password.
    """

    certificate: Path
    key: Path


class RenewedContext(ssl.SSLContext):
    """A context that is made anew where its files have changed; all that asyncio, uvloop and httpx ask of one.

    A context cannot be changed in place without a moment in which key and certificate do not fit. Files that cannot be used
    are logged, and those before them stay in use until they can.
    """

    def __new__(cls, protocol: int, files: Sequence[Path], fill: Callable[[ssl.SSLContext], None]) -> Self:  # noqa: ARG004
        """OpenSSL's part knows the protocol only; that alone has no certificate and believes nobody."""
        return super().__new__(cls, protocol)

    def __init__(self, protocol: int, files: Sequence[Path], fill: Callable[[ssl.SSLContext], None]) -> None:
        self._protocol, self._files, self._fill = protocol, files, fill
        self._lock, self._looked = threading.Lock(), time.monotonic()
        self._seen = _states(files)
        self._current = self._made()

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:  # as ssl.SSLContext has it
        """What asyncio and uvloop begin a connection with."""
        return self._renewed().wrap_bio(*args, **options)

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:  # as ssl.SSLContext has it
        """What blocking clients begin one with."""
        return self._renewed().wrap_socket(*args, **options)

    def _renewed(self) -> ssl.SSLContext:
        with self._lock:
            now = time.monotonic()
            if now - self._looked >= LOOK_SECONDS:
                self._looked = now
                self._look()
            return self._current

    def _look(self) -> None:
        try:
            states = _states(self._files)
            if states == self._seen:
                return
            self._current, self._seen = self._made(), states
        except ConfigError as error:
            log.error("certificates are not renewed, the former stay in use: %s", error)
        else:
            log.info("certificates renewed: %s", ", ".join(map(str, self._files)))

    def _made(self) -> ssl.SSLContext:
        context = ssl.SSLContext(self._protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._fill(context)
        return context


def listening(identity: Identity, callers: Path | None) -> RenewedContext:
    """For who is asked.

    Args:
        identity: Of this process.
        callers: PEM file of who signs callers' certificates. A caller may show none: `KnownCallers` says what it gets then.
            One of somebody else ends the handshake. None: nobody is asked for one.

    Raises:
        ConfigError: A file cannot be used.
    """

    def fill(context: ssl.SSLContext) -> None:
        _show(context, identity)
        if callers is not None:
            context.verify_mode = ssl.CERT_OPTIONAL
            _believe(context, callers)

    files = [identity.certificate, identity.key, *([callers] if callers else [])]
    return RenewedContext(ssl.PROTOCOL_TLS_SERVER, files, fill)


def uvicorn_tls(identity: Identity | None, callers: Path | None) -> Callable[..., ssl.SSLContext] | None:
    """uvicorn's `ssl_context_factory`, as `listening`; None where no certificate is shown: plain HTTP."""
    if identity is None:
        return None
    context = listening(identity, callers)
    return lambda *_config: context


def asking(authority: Path | None, identity: Identity | None = None) -> RenewedContext:
    """For who asks; the other's certificate and its name are always verified.

    Args:
        authority: PEM file of who signs the certificates that are believed; None: the machine's own list.
        identity: What is shown where it is asked for.

    Raises:
        ConfigError: A file cannot be used.
    """

    def fill(context: ssl.SSLContext) -> None:
        if authority is None:
            context.load_default_certs()
        else:
            _believe(context, authority)
        if identity is not None:
            _show(context, identity)

    own = [identity.certificate, identity.key] if identity else []
    return RenewedContext(ssl.PROTOCOL_TLS_CLIENT, [*([authority] if authority else []), *own], fill)


class KnownCallers:
    """An ASGI application for callers whose certificate was verified; all but OPEN_PATHS is refused to the others.

    Args:
        inner: The application.
        names: DNS names of which the certificate has one; any where there are none.
    """

    def __init__(self, inner: ASGIApp, names: Collection[str]) -> None:
        self._inner, self._names = inner, frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse."""
        if scope["type"] == "lifespan" or scope.get("path") in OPEN_PATHS or self._is_known(scope.get(CALLER)):
            await self._inner(scope, receive, send)
        elif scope["type"] == "http":
            head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(STRANGER))]
            await send({"type": "http.response.start", "status": FORBIDDEN, "headers": head})
            await send({"type": "http.response.body", "body": STRANGER})

    def _is_known(self, caller: frozenset[str] | None) -> bool:
        return caller is not None and (not self._names or not self._names.isdisjoint(caller))


STRANGER = b'{"error": "only callers with a certificate that was made for it are answered here."}'


def caller_of(transport: Any) -> frozenset[str] | None:  # an asyncio.Transport, uvloop's as well
    """The DNS names in the certificate that the other end of a connection showed; None where it showed none."""
    link = transport.get_extra_info("ssl_object")
    certificate = link.getpeercert() if link is not None else None
    if not certificate:
        return None
    return frozenset(name for kind, name in certificate.get("subjectAltName", ()) if kind == "DNS")


def grpc_credentials(identity: Identity, callers: Path | None) -> Any:  # grpcio publishes no types
    """Of gRPC's listener, with the certificates that are there at each connection; a caller has to show one where `callers` is
    given.
    """
    import grpc

    files = [identity.certificate, identity.key, *([callers] if callers else [])]
    seen: States = ()

    def configuration() -> Any:
        nonlocal seen
        states = _states(files)
        if states == seen:
            return None  # as before
        listening(identity, callers)  # gRPC would take a key that does not fit
        seen = states
        pair = (identity.key.read_bytes(), identity.certificate.read_bytes())
        return grpc.ssl_server_certificate_configuration([pair], callers.read_bytes() if callers else None)

    return grpc.dynamic_ssl_server_credentials(configuration(), configuration, callers is not None)


def _show(context: ssl.SSLContext, identity: Identity) -> None:
    try:
        context.load_cert_chain(identity.certificate, identity.key, password=_no_password)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"certificate {identity.certificate} with key {identity.key}: cannot be used ({error}). Expected PEM files, the "
            "certificate's chain and its own key without a password."
        ) from error


def _no_password() -> str:
    """Else OpenSSL asks at the terminal."""
    raise ValueError("the key has a password")


def _believe(context: ssl.SSLContext, authority: Path) -> None:
    try:
        context.load_verify_locations(authority)
    except OSError as error:
        raise ConfigError(f"{authority}: cannot be used ({error}). Expected certificates in PEM.") from error


def _states(files: Sequence[Path]) -> States:
    """What differs where a file was replaced, by whatever path of links it is reached."""
    try:
        return tuple(stamp_of(file.stat()) for file in files)
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}. Expected a PEM file.") from error
