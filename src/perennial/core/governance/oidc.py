"""What a verified ID token of an OpenID Connect issuer says about a person: the role, and the name of the account."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field

from perennial.core.frozen import Frozen
from perennial.core.governance.identity import NAME, PEOPLE, Role
from perennial.errors import NotAllowed

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures with a key pair. A shared secret would let each of its holders sign, and `none` everybody."""
DEFAULT_ALGORITHMS = ("RS256",)
"""What an issuer signs with that does not say it."""
WELL_KNOWN = "/.well-known/openid-configuration"
"""Path of the description of an issuer, below its address."""
ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")
"""Addresses in that description without which nobody signs in."""
MORE_ENDPOINTS = ("userinfo_endpoint", "end_session_endpoint")
LEEWAY = 60
"""Seconds by which the clock of the issuer may differ from ours."""
EVERY_APPROVER = "role:approver"
"""Stands for all approvers where Airflow wants names; no account has it as its name."""
LONGEST_PATH = 1000
USUAL_PORTS = {"http": 80, "https": 443}
LOOPBACKS = frozenset({"127.0.0.1", "localhost", "::1"})
_OTHER = re.compile(r"[^a-z0-9_-]+")


class Oidc(Frozen):
    """The issuer, this installation as its client, and the meaning of its claims."""

    issuer: str
    client_id: str
    client_secret: str | None = Field(None, repr=False, description="None: a public client, with PKCE only")
    roles: dict[str, Role] = Field(description="value of the roles' claim -> role")
    roles_claim: str = Field(description="name of a claim; dots lead into objects")
    name_claim: str
    scopes: str
    hours: float = Field(description="life of a session")
    taken: frozenset[str] = Field(description="names that belong to local accounts")


def read_roles(text: str) -> dict[str, Role]:
    """Parse `role=group,role=group`; a role may have several groups.

    Raises:
        ValueError: a malformed part, a role that people do not have, or a group with two roles.
    """
    roles: dict[str, Role] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        role, _, group = part.partition("=")
        if role not in PEOPLE or not group:
            raise ValueError(f"{part!r} is not ROLE=GROUP; the role is one of {', '.join(PEOPLE)}")
        if roles.setdefault(group, Role(role)) != role:
            raise ValueError(f"the group {group!r} has two roles")
    if not roles:
        raise ValueError("no group has a role: nobody could sign in")
    return roles


def is_safe_address(address: str) -> bool:
    """Return whether an address is an https one, or on loopback: others carry codes and cookies in the clear."""
    try:
        parts = urlsplit(address)
    except ValueError:  # half an IPv6 address
        return False
    return parts.hostname is not None and (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACKS)
    )


def problem_of(description: Mapping[str, Any], issuer: str) -> tuple[str, str] | None:
    """Return why nobody may sign in at an issuer that describes itself so, and what to do; None: all is well.

    What the issuer says of itself comes after a colon.
    """
    named = description.get("issuer")
    if named != issuer:
        return (
            f"calls itself something else: {named}, not {issuer}",
            "PERENNIAL_OIDC_ISSUER is exactly what it calls itself, to the last slash",
        )
    missing = [name for name in ENDPOINTS if not description.get(name)]
    if missing:
        return f"names no {', '.join(missing)}", "is it an OpenID Connect issuer?"
    for name in (*ENDPOINTS, *MORE_ENDPOINTS):
        address = description.get(name)
        if address and not is_safe_address(str(address)):
            return (
                f"names an address that is neither https nor on loopback: {name} {address}",
                "codes and keys would pass in the clear: let it know its public address behind its proxy",
            )
    methods = description.get("code_challenge_methods_supported")
    if methods is not None and "S256" not in methods:
        return "offers no PKCE with S256", "allow it there for this client"
    if not signing_algorithms(description):
        offered = ", ".join(map(str, description["id_token_signing_alg_values_supported"]))
        return f"signs with other algorithms: {offered}", f"one of {', '.join(ALGORITHMS)}"
    return None


def signing_algorithms(description: Mapping[str, Any]) -> list[str]:
    """Return the algorithms of ALGORITHMS that an issuer says it signs with."""
    offered = description.get("id_token_signing_alg_values_supported") or DEFAULT_ALGORITHMS
    return [name for name in ALGORITHMS if name in offered]


def role_of(claims: Mapping[str, Any], oidc: Oidc) -> Role:
    """Return the strongest role that the claims give.

    Raises:
        NotAllowed: they give none.
    """
    value = claim(claims, oidc.roles_claim)
    if oidc.roles_claim == "email" and claims.get("email_verified") is not True:
        value = None
    values = value if isinstance(value, list) else [value]
    held = {oidc.roles[text] for text in values if isinstance(text, str) and text in oidc.roles}
    for role in PEOPLE:
        if role in held:
            return role
    raise NotAllowed(
        f"no value of the claim {oidc.roles_claim} has a role here",
        hint="PERENNIAL_OIDC_ROLES; ask the admin",
    )


def account_name(claims: Mapping[str, Any], oidc: Oidc) -> str:
    """Return the name of a new account: that of the claim, if it can be one, else readable with a hash at its end.

    Names become parts of tags in MLflow. The hash keeps apart what reads alike (`a.b`, `a-b`).

    Raises:
        NotAllowed: there is no such claim, an e-mail address is not verified, or the name is that of a local account.
    """
    value = claim(claims, oidc.name_claim)
    if not isinstance(value, str) or not value.strip():
        raise NotAllowed(f"the token has no claim {oidc.name_claim}", hint="PERENNIAL_OIDC_NAME_CLAIM")
    if oidc.name_claim == "email" and claims.get("email_verified") is not True:
        raise NotAllowed("the issuer has not verified the e-mail address", hint="verify it there")
    name = value
    if not NAME.fullmatch(name):
        readable = _OTHER.sub("-", value.casefold()).strip("-_")[:50]
        name = f"{readable}-{hashlib.sha256(value.encode()).hexdigest()[:8]}"
        if not NAME.fullmatch(name):
            name = f"p-{name}"
    if name in oidc.taken:
        raise NotAllowed(f"{name} is a local account", hint="PERENNIAL_PEOPLE, or another claim for the name")
    return name


def subject_of(claims: Mapping[str, Any]) -> str:
    """Return the subject: who it is at the issuer, whatever name, address or group changes."""
    return str(claims["sub"])


def claim(claims: Mapping[str, Any], path: str) -> object:
    """Return the value of a claim, None where there is none; dots lead into objects (`realm_access.roles`)."""
    if path in claims:
        return claims[path]
    value: object = claims
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def local_path(address: str | None, origin: str) -> str:
    """Return the path to which a browser goes after a sign-in: one of this server, else its first page.

    Browsers take a backslash for a slash, skip tabs and line ends, and take `//host` for another server. The path is
    kept in a cookie, which has little room.

    Args:
        origin: scheme, host and port of this server.
    """
    path = (address or "").removeprefix(origin)
    if len(path) > LONGEST_PATH or not path.startswith("/") or re.search(r"[\x00-\x20\x7f\\]|^//", path):
        return "/"
    return path


def origin_of(address: str) -> str:
    """Return scheme, host and port of an address as browsers write them: in small letters, without the usual port."""
    parts = urlsplit(address)
    usual = f":{USUAL_PORTS.get(parts.scheme)}"
    return f"{parts.scheme}://{parts.netloc.lower().removesuffix(usual)}"
