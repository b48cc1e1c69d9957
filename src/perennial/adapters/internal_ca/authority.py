"""The authority of the plant in a folder: it makes and renews certificates, and changes its own key without a gap."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from filelock import FileLock

from perennial import files
from perennial.adapters.internal_ca import leaf_folder, signing
from perennial.adapters.internal_ca.signing import Names, Pair
from perennial.adapters.tls_certificates import TlsCertificate, public_key_of, read_certificates
from perennial.core.certificates.renewal import (
    AUTHORITY_LIFE,
    Authority,
    Plan,
    Validity,
    leaf_end,
    plan,
)
from perennial.errors import SettingsError
from perennial.internal_tls.identity import CHAIN, COMBINED, KEY, TRUSTED

FOLDER = "authority"
CERTIFICATE, CA_KEY, SIGNS_FROM = "ca.crt", "ca.key", "signs-from"

OwnerOf = Callable[[str], leaf_folder.Owner | None]
"""Folder of a certificate -> owner of its files."""


class InternalAuthority:
    """The authority, and the certificates that it has signed.

    Args:
        folder: of PERENNIAL_INTERNAL_TLS.
        owner_of: whose the files of each certificate are.
    """

    def __init__(self, folder: Path, owner_of: OwnerOf = lambda name: None) -> None:
        self._top = folder
        self._folder = folder / FOLDER
        self._owner_of = owner_of

    @property
    def here(self) -> bool:
        """Return whether an authority signs from this folder."""
        return self._folder.is_dir()

    def renew(
        self,
        wanted: Mapping[str, Names],
        now: datetime,
        life: timedelta,
        next_signs_from: datetime | None = None,
        settle: timedelta = timedelta(),
    ) -> list[str]:
        """Make what is missing and renew what is due; returns a line for each change. Can be repeated at any time.

        Args:
            wanted: folder of a certificate -> its names.
            life: of a certificate.
            next_signs_from: make a new authority now, which signs from then on.
            settle: from the day on which a new authority that is due is trusted to that on which it signs.

        Raises:
            SettingsError: the folder cannot be read, or has no key of the authority.
        """
        self._top.mkdir(parents=True, exist_ok=True, mode=0o711)
        self._folder.mkdir(exist_ok=True, mode=0o700)
        self._folder.chmod(0o700)
        with FileLock(self._folder / ".lock", timeout=60, mode=files.PRIVATE):
            changes = []
            if next_signs_from is not None:
                changes.append(self._make(now, next_signs_from))
            planned = plan(self._authorities(), now, life)
            if planned.make:
                changes.append(self._make(now, now if planned.signer is None else now + settle))
                planned = plan(self._authorities(), now, life)
            changes += self._renew_leaves(planned, wanted, now, life)
            for authority in planned.dropped:
                shutil.rmtree(self._folder / authority.name)
                changes.append(f"authority {authority.name}: no longer trusted")
        return changes

    def _renew_leaves(
        self, planned: Plan, wanted: Mapping[str, Names], now: datetime, life: timedelta
    ) -> list[str]:
        signer = planned.signer
        assert signer is not None  # noqa: S101 there is one from the first call on
        authority = self._pair(signer.name)
        (ca,) = read_certificates(self._folder / signer.name / CERTIFICATE)
        bundle = b"".join(
            (self._folder / trusted.name / CERTIFICATE).read_bytes() for trusted in planned.trusted
        )
        changes = []
        for name, names in wanted.items():
            folder, owner = self._top / name, self._owner_of(name)
            pair = _kept(folder, names, ca, now)
            if pair is None:
                pair = signing.sign(authority, names, now, leaf_end(now, life, signer.validity))
                changes.append(
                    f"{name}: new certificate, until {leaf_end(now, life, signer.validity):%F %H:%M} UTC"
                )
            content = {
                CHAIN: pair.certificate, KEY: pair.key, TRUSTED: bundle, COMBINED: pair.certificate + pair.key,
            }  # fmt: skip
            if not leaf_folder.holds(folder, content, owner):
                leaf_folder.write(folder, content, owner)
                changes = changes if changes and changes[-1].startswith(f"{name}:") else [
                    *changes, f"{name}: trusts {len(planned.trusted)} authorities"
                ]  # fmt: skip
        return changes

    def hosts_of(self, name: str, names: Names) -> frozenset[str]:
        """Return the hosts in the certificate of a folder, so that they are remembered; none where it has none.

        The process that it belongs to may write there, so a certificate counts only if it was signed here, for the
        same role.
        """
        try:
            certificate, *_ = read_certificates(self._top / name / CHAIN)
        except SettingsError:
            return frozenset()
        authorities = [read_certificates(path)[0] for path in self._folder.glob(f"[!.]*/{CERTIFICATE}")]
        same = certificate.uris == set(names.uris) and (
            names.uris or certificate.subject == f"CN={names.common}"
        )
        return certificate.names if same and any(map(certificate.signed_by, authorities)) else frozenset()

    def folders(self) -> list[str]:
        """Return the folders with a certificate."""
        return sorted(path.parent.name for path in self._top.glob(f"*/{CHAIN}"))

    def _make(self, now: datetime, signs_from: datetime) -> str:
        name = f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
        pair = signing.make_authority(name, now, now + AUTHORITY_LIFE)
        with files.new_folder(self._folder / name) as temporary:
            temporary.chmod(0o700)
            files.write_bytes(temporary / CERTIFICATE, pair.certificate, files.PRIVATE)
            files.write_bytes(temporary / CA_KEY, pair.key, files.PRIVATE)
            files.write_text(temporary / SIGNS_FROM, signs_from.isoformat(), files.PRIVATE)
        return f"authority {name}: trusted from now on, signs from {signs_from:%F %H:%M} UTC on"

    def _authorities(self) -> list[Authority]:
        return [self._authority(path.parent) for path in sorted(self._folder.glob(f"[!.]*/{CERTIFICATE}"))]

    def _authority(self, folder: Path) -> Authority:
        (certificate,) = read_certificates(folder / CERTIFICATE)
        try:
            signs_from = datetime.fromisoformat((folder / SIGNS_FROM).read_text())
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"{folder / SIGNS_FROM} has no time: {error}", hint=f"restore it, or remove {folder}"
            ) from error
        return Authority(folder.name, Validity(certificate.begins, certificate.ends), signs_from)

    def _pair(self, name: str) -> Pair:
        folder = self._folder / name
        try:
            return Pair((folder / CERTIFICATE).read_bytes(), (folder / CA_KEY).read_bytes())
        except OSError as error:
            raise SettingsError(
                f"{error.filename}: {error.strerror}", hint="renew where the key of the authority is"
            ) from error


def with_hosts(names: Names, hosts: frozenset[str]) -> Names:
    """Return the names with further hosts."""
    return replace(names, hosts=tuple(dict.fromkeys((*names.hosts, *sorted(hosts)))))


def _kept(folder: Path, names: Names, ca: TlsCertificate, now: datetime) -> Pair | None:
    """Return the pair of a folder; None where it has to be made anew."""
    try:
        certificate, *_ = read_certificates(folder / CHAIN)
        matches = public_key_of(folder / KEY) == certificate.public_key
    except SettingsError:
        return None
    if (
        not matches
        or not certificate.signed_by(ca)
        or certificate.begins > now  # made while the clock was ahead
        or Validity(certificate.begins, certificate.ends).due(now)
        or certificate.names != set(names.hosts)
        or certificate.uris != set(names.uris)
        or certificate.subject != f"CN={names.common}"
    ):
        return None
    return Pair((folder / CHAIN).read_bytes(), (folder / KEY).read_bytes())
