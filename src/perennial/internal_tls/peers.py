"""The role of the process at the other end of a connection, from the certificate that it showed."""

from __future__ import annotations

import ssl
from collections.abc import Set
from typing import Any


class WrongRole(ssl.SSLCertVerificationError):
    """The certificate is of the plant, and of a role that has no business here."""


def names(shown: ssl.SSLObject | ssl.SSLSocket) -> frozenset[str]:
    """Return the names of the kind URI in the verified certificate of the other end."""
    certificate: Any = shown.getpeercert() or {}
    return frozenset(name for kind, name in certificate.get("subjectAltName", ()) if kind == "URI")


def check(shown: ssl.SSLObject | ssl.SSLSocket, allowed: Set[str]) -> None:
    """Check the role of the other end.

    Raises:
        WrongRole: it has none of the allowed ones.
    """
    roles = names(shown)
    if not roles & allowed:
        raise WrongRole(problem(roles, allowed))


def problem(roles: Set[str], allowed: Set[str]) -> str:
    """Return why a role is refused."""
    return (
        f"the certificate is of {', '.join(sorted(roles)) or 'no role'}, not of {', '.join(sorted(allowed))}"
    )
