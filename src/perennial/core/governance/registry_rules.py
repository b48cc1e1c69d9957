"""Who may mark a model version how. Pure; MLflow's server asks before it writes, whatever route was taken.

| what | who |
| --- | --- |
| tag `approval` | approvers; the release machine only `waiting` |
| tags `approval.*` | nobody: the server itself writes them |
| tags `gate.*`, `release` | the release machine |
| tags of `FIXED`: what a version is, learnt from and scored | training, with the version; then nobody |
| aliases `champion`, `previous` | the release machine |
| alias `candidate` | training and the release machine |
| deleting a version or a model, renaming a model | the admin |

The admin, who may give roles, has none of these rights without one: approving by the admin's account would
name nobody.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from perennial.core.governance.identity import Role
from perennial.core.release.approval import TAG, WAITING

BY = TAG + ".by."
"""Prefix of the tags that say which account set TAG, to what, of which digest, and when."""
EVIDENCE = ("gate.", "release")
FIXED = frozenset(
    {
        *("digest", "capsule", "semantic_version", "requested_by", "architecture", "champion.digest"),
        *("code", "data.revision", "data.source", "data_checks", "features_hash", "figures_hash"),
        *("framework", "holdout_from"),
        *("model.bytes", "model.input", "model.output", "model.parameters", "reason", "reason.text", "spec"),
    }
)
"""All that a registration says of a version: the gate reads risk and verdicts from it, people their answer."""
ALIASES = {
    "champion": (Role.RELEASE,),
    "previous": (Role.RELEASE,),
    "candidate": (Role.TRAINING, Role.RELEASE),
}

Roles = Collection[Role]


def tag_refusal(roles: Roles, key: str, value: str | None, tags: Mapping[str, str]) -> str:
    """Why this account may not set the tag of a version; empty when it may.

    Args:
        value: None deletes the tag.
        tags: of the version, as they are now.
    """
    name = _plain(key)
    if name.startswith(TAG + "."):
        return f"the tags {TAG}.* are written by the server alone"
    if name == TAG:
        return _approval_refusal(roles, key, value)
    if _is_evidence(name) and Role.RELEASE not in roles:
        return f"the tag {key} is the release machine's"
    # One that was not given is not added either: who comes later does not know what was trained.
    if name in FIXED and (value is None or tags.get(key) != value):
        return f"the tag {key} is given with the version and never changed"
    return ""


def _approval_refusal(roles: Roles, key: str, value: str | None) -> str:
    if key != TAG:
        return f"the tag is written {TAG}"
    if Role.APPROVER in roles or (Role.RELEASE in roles and value == WAITING):
        return ""
    return f"only accounts with the role {Role.APPROVER} set the tag {TAG}"


def birth_refusal(roles: Roles, key: str) -> str:
    """Why this account cannot create a version (or a model) with this tag; empty when it can."""
    name = _plain(key)
    if name == TAG or name.startswith(TAG + ".") or _is_evidence(name):
        return f"the tag {key} is not given at creation"
    if name in FIXED and Role.TRAINING not in roles:
        return f"the tag {key} is given by training alone"
    return ""


def alias_refusal(roles: Roles, alias: str) -> str:
    allowed = ALIASES.get(_plain(alias))
    if allowed is None or set(allowed) & set(roles):
        return ""
    return f"the alias {alias} is moved by: {', '.join(allowed)}"


def _is_evidence(name: str) -> bool:
    return any(name.startswith(one) if one.endswith(".") else name == one for one in EVIDENCE)


def _plain(name: str) -> str:
    """As a database compares that ignores case and spaces at the ends."""
    return name.strip().casefold()


def record(account: str, verb: str, digest: str, at: datetime) -> tuple[str, str]:
    """Name and value of the tag that says what an account said.

    Args:
        verb: `approved` or `rejected`.
    """
    return BY + account, f"{verb} {digest} {at.isoformat(timespec='seconds')}"
