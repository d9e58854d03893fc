"""An authority of a test's own, and the certificates that it signs: as files, replaced as cert-manager replaces them."""

import ipaddress
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from components.artifacts.whole_file import write_whole
from serving.tls import Identity, asking

HERE = ("127.0.0.1", "localhost")
POSTGRES = (8).to_bytes(4) + (80877103).to_bytes(4)
"""What a client of PostgreSQL says before TLS; the server answers with one byte."""


class Authority:
    """Whoever believes `file` believes what it signs.

    Args:
        folder: Of its own certificate and of those that it issues, with their keys.
        name: Its own.
        days: How long they are good for.
    """

    def __init__(self, folder: Path, name: str = "authority", *, days: int = 1) -> None:
        self._folder, self._days, self._key = folder, days, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        extensions = [(x509.BasicConstraints(ca=True, path_length=0), True), (usage, True)]
        self.file = folder / f"{name}.crt"
        write_whole(
            self.file, self._signed(self._name, self._key.public_key(), extensions).public_bytes(Encoding.PEM).decode()
        )

    def issue(self, name: str, *hosts: str, group: str | None = None) -> Identity:
        """A new key and certificate of the hosts, in the files of that name; Kubernetes reads name and group of a client's."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [_general(host) for host in hosts or HERE]
        groups = [] if group is None else [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group)]
        subject = x509.Name([*groups, x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._signed(subject, key.public_key(), [(x509.SubjectAlternativeName(names), False)])
        identity = Identity(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        write_whole(identity.key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())
        write_whole(identity.certificate, certificate.public_bytes(Encoding.PEM).decode())
        return identity

    def _signed(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        extensions: list[tuple[x509.ExtensionType, bool]],
    ) -> x509.Certificate:
        start = datetime.now(UTC) - timedelta(minutes=1)
        end = start + timedelta(days=self._days, minutes=1)
        builder = x509.CertificateBuilder(self._name, subject, key, x509.random_serial_number(), start, end)
        own = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        for extension, is_critical in [
            *extensions,
            (x509.SubjectKeyIdentifier.from_public_key(key), False),
            (own, False),
        ]:
            builder = builder.add_extension(extension, is_critical)
        return builder.sign(self._key, hashes.SHA256())


def shown(port: int, authority: Path, *, preamble: bytes = b"") -> int:
    """Serial number of what a listener of loopback shows to a new connection, once it is verified."""
    with socket.create_connection(("127.0.0.1", port), 10.0) as raw:
        if preamble:
            raw.sendall(preamble)
            assert raw.recv(1) == b"S"
        with asking(authority).wrap_socket(raw, server_hostname="127.0.0.1") as link:
            return x509.load_der_x509_certificate(link.getpeercert(binary_form=True) or b"").serial_number


def serial_of(identity: Identity) -> int:
    return x509.load_pem_x509_certificate(identity.certificate.read_bytes()).serial_number


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
