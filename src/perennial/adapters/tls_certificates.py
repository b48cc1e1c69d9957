"""TLS certificates as files: validity, names, and whether a private key is theirs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from perennial.errors import SettingsError

PUBLIC = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


@dataclass(frozen=True)
class TlsCertificate:
    """A certificate: validity, names and public key."""

    subject: str
    begins: datetime
    ends: datetime
    names: frozenset[str]
    """Host names and IP addresses that it is for."""
    uris: frozenset[str]
    """Names of the kind URI."""
    serial: int
    public_key: bytes
    parsed: x509.Certificate = field(repr=False, compare=False)

    def signed_by(self, authority: TlsCertificate) -> bool:
        """Return whether the key of an authority signed it."""
        try:
            self.parsed.verify_directly_issued_by(authority.parsed)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True

    def is_for(self, host: str) -> bool:
        """Return whether a client that asks this host accepts the name; a wildcard stands for one label (RFC 6125)."""
        try:
            return str(ip_address(host.strip("[]"))) in self.names
        except ValueError:
            parent = host.partition(".")[2]
            return host.lower() in self.names or (bool(parent) and f"*.{parent.lower()}" in self.names)


def read_certificates(path: Path) -> list[TlsCertificate]:
    """Read a PEM file of certificates, in their order.

    Raises:
        SettingsError: the file cannot be read, or has none.
    """
    try:
        return [_certificate(part) for part in x509.load_pem_x509_certificates(path.read_bytes())]
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{path} is no PEM file of certificates: {error}",
            hint="make dev-certificates, or your authority's file",
        ) from error


def public_key_of(path: Path) -> bytes:
    """Return the public key of a PEM file with a private key, in the form of `TlsCertificate.public_key`.

    Raises:
        SettingsError: the file cannot be read, is encrypted, or is no key.
    """
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise SettingsError(
            f"{path} is no PEM private key without a password", hint="PERENNIAL_TLS_KEY"
        ) from error
    return key.public_key().public_bytes(*PUBLIC)


def _certificate(certificate: x509.Certificate) -> TlsCertificate:
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        hosts = [name.lower() for name in alternative.get_values_for_type(x509.DNSName)]
        names = frozenset((*hosts, *map(str, alternative.get_values_for_type(x509.IPAddress))))
        uris = frozenset(alternative.get_values_for_type(x509.UniformResourceIdentifier))
    except x509.ExtensionNotFound:
        names = uris = frozenset()  # clients no longer look at the common name
    return TlsCertificate(
        subject=certificate.subject.rfc4514_string(),
        begins=certificate.not_valid_before_utc,
        ends=certificate.not_valid_after_utc,
        names=names,
        uris=uris,
        serial=certificate.serial_number,
        public_key=certificate.public_key().public_bytes(*PUBLIC),
        parsed=certificate,
    )
