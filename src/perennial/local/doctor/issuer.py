"""Checks of the OpenID Connect issuer at which people sign in: its description, its keys and its clock."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx

from perennial.core.governance.oidc import (
    ALGORITHMS,
    DEFAULT_ALGORITHMS,
    ENDPOINTS,
    WELL_KNOWN,
    Oidc,
    unsafe_endpoint,
)
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
    wrong = _wrong(oidc, description)
    if wrong is not None:
        return None, [wrong, *findings]
    return description, [Finding(NAME, State.OK, f"{oidc.issuer} describes itself"), *findings]


def _wrong(oidc: Oidc, description: dict[str, Any]) -> Finding | None:
    named = description.get("issuer")
    missing = [name for name in ENDPOINTS if not description.get(name)]
    methods = description.get("code_challenge_methods_supported")
    offered = description.get("id_token_signing_alg_values_supported") or DEFAULT_ALGORITHMS
    if named != oidc.issuer:
        fix = "PERENNIAL_OIDC_ISSUER is exactly what it calls itself, to the last slash"
        return Finding(NAME, State.PROBLEM, f"calls itself {named}, not {oidc.issuer}", fix)
    if missing:
        return Finding(
            NAME, State.PROBLEM, f"names no {', '.join(missing)}", "is it an OpenID Connect issuer?"
        )
    unsafe = unsafe_endpoint(description)
    if unsafe is not None:
        fix = (
            "codes and keys would pass in the clear: let the issuer know its public address behind its proxy"
        )
        return Finding(NAME, State.PROBLEM, f"{unsafe} is neither https nor on loopback", fix)
    if methods is not None and "S256" not in methods:
        return Finding(NAME, State.PROBLEM, "offers no PKCE with S256", "allow it there for this client")
    if not set(offered) & set(ALGORITHMS):
        fix = f"one of {', '.join(ALGORITHMS)}"
        return Finding(NAME, State.PROBLEM, f"signs with {', '.join(offered)} only", fix)
    return None


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
