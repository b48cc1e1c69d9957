"""Checks of TLS certificates and of the keys that sign: validity, names, matching private key."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from perennial.errors import PerennialError
from perennial.local.doctor.finding import Finding, State, attempt, problem
from perennial.settings import Settings
from perennial.wiring import keys

SOON = timedelta(days=14)
"""Before a certificate ends, somebody must get a new one."""
RENEW = "get a new certificate (for this machine: make dev-certificates), then perennial local down and up"


def tls(settings: Settings) -> Iterator[Finding]:
    """Check the certificate of the public listener and the certificates that our clients trust."""
    try:
        files, trusted = settings.tls, settings.trusted_certificates
    except PerennialError:
        return  # `configured.values` tells that
    if files is None and trusted is None:
        yield Finding(
            "certificate", State.OK, "none is set: plain HTTP, on loopback unless PERENNIAL_HOST says more"
        )
    try:
        if files is not None:
            yield from _served(settings, *files)
        if trusted is not None:
            for certificate in keys.certificates().read_certificates(trusted):
                yield _validity("trusted certificate", certificate, datetime.now(UTC))
    except PerennialError as error:
        yield problem("certificate", error)


def signing(settings: Settings) -> Iterator[Finding]:
    """Check the keys that sign: of the files of a version, and of the ledger's head."""
    if settings.signing_key_file.exists():
        yield attempt("signing key", lambda: _shown(keys.file_signer(settings).public))
    if settings.ledger_key is not None:
        yield attempt("ledger key", lambda: _shown(keys.signer(settings).public))
    for path in sorted(settings.trusted_keys_folder.glob("*.pub")):
        yield attempt(f"trusted key {path.name}", lambda path=path: _shown(keys.ed25519().read_public(path)))


def _served(settings: Settings, certificate_file, key_file) -> Iterator[Finding]:
    reader = keys.certificates()
    certificate, *_ = reader.read_certificates(certificate_file)
    yield _validity("certificate", certificate, datetime.now(UTC))
    if reader.public_key_of(key_file) == certificate.public_key:
        yield Finding("certificate key", State.OK, "the private key is that of the certificate")
    else:
        what = f"{key_file} is not the key of {certificate_file}"
        yield Finding(
            "certificate key", State.PROBLEM, what, "set PERENNIAL_TLS_CERT and PERENNIAL_TLS_KEY to one pair"
        )
    pages = (settings.mlflow_url, settings.airflow_url) if settings.tls_pages else ()
    for host in sorted({urlsplit(url).hostname or "" for url in (settings.envoy_url, *pages)}):
        if certificate.is_for(host):
            yield Finding("certificate name", State.OK, f"it is for {host}")
        else:
            what = f"it is for {', '.join(sorted(certificate.names)) or 'no name'}, and our own clients ask {host}"
            yield Finding(
                "certificate name", State.PROBLEM, what, f"a certificate with the alternative name {host}"
            )


def _validity(check: str, certificate, now: datetime) -> Finding:
    """Return whether a certificate is valid now, and for how long."""
    if now < certificate.begins:
        what = f"{certificate.subject} is valid only from {certificate.begins:%Y-%m-%d %H:%M} UTC on"
        return Finding(check, State.PROBLEM, what, "is the clock of this machine right?")
    if now >= certificate.ends:
        return Finding(
            check, State.PROBLEM, f"{certificate.subject} ended {certificate.ends:%Y-%m-%d %H:%M} UTC", RENEW
        )
    left = certificate.ends - now
    state = State.WARNING if left < SOON else State.OK
    what = f"{certificate.subject} is valid for {left.days} more days"
    return Finding(check, state, what, RENEW if state is State.WARNING else "")


def _shown(public: str) -> str:
    return f"public key {public}"
