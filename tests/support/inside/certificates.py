"""An authority with the certificates of all roles, and those of callers whom no door may let in."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from perennial.adapters.internal_ca import signing
from perennial.adapters.internal_ca.authority import InternalAuthority
from perennial.adapters.internal_ca.signing import Names, Pair
from perennial.core.certificates.roles import ProcessRole, identity
from perennial.settings import Settings
from perennial.wiring import certificates

LIFE = timedelta(days=7)
BAD = ("no certificate", "another authority", "expired", "wrong role", "no role")


@dataclass
class InsideCertificates:
    """The folder of PERENNIAL_INTERNAL_TLS. Certificates may begin in the past, so that they are due now."""

    folder: Path

    def __post_init__(self) -> None:
        self.settings = Settings(home=self.folder.parent, internal_tls=self.folder)
        self.authority: InternalAuthority = certificates.authority(self.settings)

    def renew(self, days_ago: float = 0, **more) -> list[str]:
        names = certificates.wanted(self.settings, self.authority, {}, ())
        return self.authority.renew(names, datetime.now(UTC) - timedelta(days=days_ago), LIFE, **more)

    def serial(self, role: str) -> int:
        return x509.load_pem_x509_certificate((self.folder / role / "tls.crt").read_bytes()).serial_number

    def trusted(self) -> bytes:
        return (self.folder / "agent" / "ca.crt").read_bytes()

    def authorities(self) -> list[int]:
        """The serial numbers of the trusted authorities."""
        return [one.serial_number for one in x509.load_pem_x509_certificates(self.trusted())]

    def pair(self, role: ProcessRole) -> Pair:
        files = self.folder / role
        return Pair((files / "tls.crt").read_bytes(), (files / "tls.key").read_bytes())

    def signer(self) -> Pair:
        newest = max((self.folder / "authority").glob("*/ca.crt"))
        return Pair(newest.read_bytes(), newest.with_name("ca.key").read_bytes())

    def bad(self, kind: str, wrong: ProcessRole) -> Pair | None:
        """The certificate of a caller whom a door must refuse; None: it shows none.

        Args:
            wrong: a role that the door does not let in.
        """
        now, day = datetime.now(UTC), timedelta(days=1)
        right = Names("agent", (identity(ProcessRole.AGENT), identity(ProcessRole.OPERATOR)), calls=True)
        if kind == "no certificate":
            return None
        if kind == "another authority":
            stranger = signing.make_authority("stranger", now, now + day)
            return signing.sign(stranger, right, now, now + day)
        if kind == "expired":
            return signing.sign(self.signer(), right, now - 2 * day, now - day)
        return self.pair(wrong) if kind == "wrong role" else signing.sign(
            self.signer(), Names("nobody", calls=True), now, now + day
        )  # fmt: skip

    def context(self, pair: Pair | None, folder: Path) -> ssl.SSLContext:
        """A client that shows a pair."""
        context = ssl.create_default_context(cadata=self.trusted().decode())
        if pair is not None:
            path = folder / "shown.pem"
            path.write_bytes(pair.certificate + pair.key)
            context.load_cert_chain(path)
        return context

    def served(self, port: int, role: ProcessRole = ProcessRole.OPERATOR) -> int:
        """The serial number of the certificate that a server shows now."""
        files = self.folder / role
        context = ssl.create_default_context(cafile=files / "ca.crt")
        context.load_cert_chain(files / "tls.crt", files / "tls.key")
        with (
            socket.create_connection(("127.0.0.1", port), 20) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
        ):
            shown = secured.getpeercert(binary_form=True)
        assert shown is not None
        return x509.load_der_x509_certificate(shown).serial_number
