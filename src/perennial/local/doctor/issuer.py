"""Checks of the OpenID Connect issuer at which people sign in: its description, its keys and its clock."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx

from perennial.core.governance.oidc import WELL_KNOWN, Oidc, problem_of
from perennial.errors import IssuerUnavailable
from perennial.local.doctor.answering import WAIT, clock
from perennial.local.doctor.finding import Finding, State, attempt
from perennial.settings import Settings

NAME = "issuer"


def issuer(settings: Settings) -> Iterator[Finding]:
    """Check the issuer, where there is one."""
    oidc = settings.oidc
    if oidc is None:
        return
    yield attempt(
        f"{NAME}: addresses", lambda: f"{settings.sign_in_url('mlflow')}, {settings.sign_in_url('airflow')}"
    )
    with httpx.Client(timeout=WAIT, verify=settings.verify_others) as client:
        description, findings = _described(oidc, client)
        yield from findings
        if description is not None:
            yield attempt(f"{NAME}: keys", lambda: _keys(description, client))


def _described(oidc: Oidc, client: httpx.Client) -> tuple[dict[str, Any] | None, list[Finding]]:
    """Return the description of the issuer, if it can be used, and what was found about it."""
    url = oidc.issuer.rstrip("/") + WELL_KNOWN
    try:
        description, findings = _json(client, url)
    except IssuerUnavailable as error:
        return None, [Finding(NAME, State.PROBLEM, error.message, error.hint)]
    wrong = problem_of(description, oidc.issuer)
    if wrong is not None:
        return None, [Finding(NAME, State.PROBLEM, *wrong), *findings]
    return description, [Finding(NAME, State.OK, f"{oidc.issuer} describes itself"), *findings]


def _keys(description: dict[str, Any], client: httpx.Client) -> str:
    keys, _ = _json(client, description["jwks_uri"])
    usable = [
        key for key in keys.get("keys", ()) if key.get("kty") != "oct" and key.get("use", "sig") == "sig"
    ]
    if not usable:
        raise IssuerUnavailable(f"{description['jwks_uri']} has no key that signs", hint="look there")
    return f"{len(usable)} sign"


def _json(client: httpx.Client, url: str) -> tuple[dict[str, Any], list[Finding]]:
    """Return the object at an address, and what was found about the clock.

    Raises:
        IssuerUnavailable: there is none.
    """
    before = datetime.now(UTC)
    try:
        answer = client.get(url)
        answer.raise_for_status()
        value = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise IssuerUnavailable(
            f"{url}: {type(error).__name__}: {error}",
            hint="is PERENNIAL_OIDC_ISSUER right, and does PERENNIAL_TLS_CA hold its authority?",
        ) from error
    if not isinstance(value, dict):
        raise IssuerUnavailable(f"{url} is no JSON object", hint="is PERENNIAL_OIDC_ISSUER right?")
    return value, list(clock(NAME, answer, before, datetime.now(UTC)))
