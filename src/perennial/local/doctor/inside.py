"""Checks of the certificates inside the plant: in time, of their role, trusted, and their keys read by nobody else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from perennial.core.certificates import roles
from perennial.core.certificates.renewal import Validity
from perennial.core.certificates.roles import ProcessRole
from perennial.errors import PerennialError
from perennial.internal_tls.identity import Identity
from perennial.local.doctor.finding import Finding, State, problem
from perennial.settings import Settings
from perennial.wiring import certificates, keys

RENEW = "perennial certificates renew"


def inside(settings: Settings) -> Iterator[Finding]:
    """Check the folder of PERENNIAL_INTERNAL_TLS; what another account owns is left to root."""
    if settings.internal_tls is None:
        return
    try:
        known = certificates.authority(settings)
    except PerennialError as error:
        yield problem("inside", error)
        return
    for name in known.folders():
        try:
            yield from _one(name, settings.identity_of(name))
        except PerennialError as error:
            yield problem(f"inside: {name}", error)
        except PermissionError as error:
            what = f"{error.filename} is another account's"
            yield Finding(f"inside: {name}", State.WARNING, what, "perennial doctor as root")
    missing = [role for role in ProcessRole if role not in known.folders()]
    if missing:
        names = ", ".join(missing)
        yield Finding("inside", State.PROBLEM, f"no certificate of {names}", RENEW)
    bundle = settings.identity_of(ProcessRole.AIRFLOW).trusted
    if os.access(bundle, os.R_OK) and len(keys.certificates().read_certificates(bundle)) > 1:
        what = "a new authority is announced, or one is not needed any more"
        yield Finding("inside", State.WARNING, what, "restart Airflow's processes once (docs/guide/mtls.md)")


def _one(name: str, files: Identity) -> Iterator[Finding]:
    check, reader, now = f"inside: {name}", keys.certificates(), datetime.now(UTC)
    certificate, *_ = reader.read_certificates(files.chain)
    wrong = list(_wrong(name, files, certificate, now))
    yield from (Finding(check, State.PROBLEM, what, RENEW) for what in wrong)
    if Validity(certificate.begins, certificate.ends).due(now) and now < certificate.ends:
        what = f"should have been renewed, it ends {certificate.ends:%Y-%m-%d %H:%M} UTC"
        yield Finding(check, State.WARNING, what, RENEW)
    elif not wrong:
        yield Finding(check, State.OK, f"valid until {certificate.ends:%Y-%m-%d %H:%M} UTC")


def _wrong(name: str, files: Identity, certificate, now: datetime) -> Iterator[str]:
    """Yield what is wrong with a certificate."""
    reader = keys.certificates()
    if not certificate.begins <= now < certificate.ends:
        yield f"is valid from {certificate.begins:%Y-%m-%d %H:%M} to {certificate.ends:%Y-%m-%d %H:%M} UTC only"
    if not any(certificate.signed_by(authority) for authority in reader.read_certificates(files.trusted)):
        yield f"{files.trusted} does not have the authority that signed it"
    if reader.public_key_of(files.key) != certificate.public_key:
        yield f"{files.key} is the key of another certificate"
    for path in (files.key, files.combined):
        if path.exists() and _others_read(path):
            yield f"others can read {path}"
    if name not in set(ProcessRole):
        return
    if roles.identity(ProcessRole(name)) not in certificate.uris:
        yield f"its role is {', '.join(sorted(certificate.uris)) or 'none'}, not {roles.identity(ProcessRole(name))}"
    if ProcessRole(name) in roles.CALLERS and not certificate.is_for(certificates.LOOPBACK):
        yield f"it is not for {certificates.LOOPBACK}, where its clients ask"


def _others_read(path: Path) -> bool:
    # A Secret in Kubernetes is root's, and its group is the pod's own.
    status = path.stat()
    return bool(status.st_mode & 0o007) or (bool(status.st_mode & 0o070) and status.st_uid != 0)
