"""Make keys and certificates: those of an authority, and those that it signs. Nothing is written here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SKEW = timedelta(minutes=5)
"""Certificates begin before they are made, for clocks that are behind."""


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, both as PEM."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True)
class Names:
    """Names of a certificate.

    Attributes:
        common: its subject; a PostgreSQL server reads there which role of the database a client is.
        uris: names of the kind URI.
        hosts: host names and IP addresses.
        serves: whether servers may show it.
        calls: whether clients may show it.
    """

    common: str
    uris: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    serves: bool = False
    calls: bool = False


def make_authority(name: str, begins: datetime, ends: datetime) -> Pair:
    """Make an authority that may sign certificates of processes, and no authorities."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Perennial internal CA {name}")])
    usage = _usage(signs=True)
    built = (
        _builder(subject, subject, key.public_key(), begins - SKEW, ends)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    return Pair(built.public_bytes(serialization.Encoding.PEM), _pem(key))


def sign(authority: Pair, names: Names, begins: datetime, ends: datetime) -> Pair:
    """Make a key, and a certificate for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    ca = x509.load_pem_x509_certificate(authority.certificate)
    ca_key = serialization.load_pem_private_key(authority.key, password=None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)  # noqa: S101 as `make_authority` makes it
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH] * names.serves + [
        ExtendedKeyUsageOID.CLIENT_AUTH
    ] * names.calls
    alternative = [*map(x509.UniformResourceIdentifier, names.uris), *_hosts(names.hosts)]
    builder = (
        _builder(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names.common)]), ca.subject, key.public_key(),
            begins - SKEW, ends,
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
                ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
            ),
            critical=False,
        )
    )  # fmt: skip
    if alternative:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternative), critical=False)
    return Pair(builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM), _pem(key))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begins: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs, key_cert_sign=signs, crl_sign=signs, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
        decipher_only=False,
    )  # fmt: skip


def _hosts(hosts: Iterable[str]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = []
    for host in hosts:
        try:
            names.append(x509.IPAddress(ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return names


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
