"""Rules for tags and aliases of model versions. Pure; MLflow's server applies them before each write.

| what | who |
| --- | --- |
| tag `approval` | approvers; the release machine only `waiting` |
| tags `approval.*` | nobody: the server itself writes them |
| tags `gate.*`, `release`, `release.*`, `lifecycle.reason`, `files` | the release machine |
| tag `lifecycle`: a word of `core.version.Lifecycle` | the release machine; training only `staging` |
| tag `reproduction` | training |
| other tags | people, under any name; training and the release machine never |
| tags of `FIXED`: identity, training data and scores | training, when it creates the version; then nobody |
| a digest that is no SHA-256, a semantic version that the model has already | nobody |
| a model whose name another model has but for case and outer spaces | nobody |
| aliases `champion`, `previous` | the release machine |
| alias `candidate` | training and the release machine |
| deleting a version or a model, renaming a model | the admin |

The admin may give roles, but has none of these rights without a role: an approval by the admin's account would
name no person.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import datetime

from perennial.core.governance.identity import Role
from perennial.core.governance.lifecycle import PURGED
from perennial.core.recalibration.attempt import RECALIBRATION_OF, RECALIBRATION_TRAINED
from perennial.core.release.approval import TAG, WAITING
from perennial.core.training.imported import FILE_TAG, TRAINED_TAG
from perennial.core.training.reproduction import RULE as REPRODUCTION
from perennial.core.training.variants import VARIANT_KEY, VARIANT_OF, VARIANT_RECIPE
from perennial.core.version import Lifecycle

BY = TAG + ".by."
"""Prefix of the tags with an account's answer: verb, digest and time."""
LIFECYCLE = "lifecycle"
EVIDENCE = ("gate.", "release", "release.", f"{LIFECYCLE}.reason", PURGED)
FIXED = frozenset(
    {
        *("digest", "capsule", "semantic_version", "requested_by", "architecture", "champion.digest"),
        *("code", "data.revision", "data.source", "data_checks", "features_hash", "figures_hash"),
        *("framework", "holdout_from", FILE_TAG, TRAINED_TAG, VARIANT_OF, VARIANT_RECIPE, VARIANT_KEY),
        *(RECALIBRATION_OF, RECALIBRATION_TRAINED),
        *("model.bytes", "model.input", "model.output", "model.parameters", "reason", "reason.text", "spec"),
    }
)
"""Tags that a registration sets. The gate reads risk and verdicts from them, people base their approval on them."""
ALIASES = {
    "champion": (Role.RELEASE,),
    "previous": (Role.RELEASE,),
    "candidate": (Role.TRAINING, Role.RELEASE),
}

SEMANTIC_VERSION = "semantic_version"
FORMS = {
    SEMANTIC_VERSION: re.compile(r"(0|[1-9][0-9]{0,8})(\.(0|[1-9][0-9]{0,8})){2}"),
    "digest": re.compile(r"[0-9a-f]{64}"),
}
"""Forms of tags by which versions are told apart."""

Roles = Collection[Role]


def tag_refusal(
    roles: Roles, key: str, value: str | None, tags: Mapping[str, str], admin: bool = False
) -> str:
    """Return why these roles may not set a tag of a version; empty when they may.

    Args:
        admin: an account with admin rights gives itself any role, so its answer is never an approval.
        value: None deletes the tag.
        tags: the current tags of the version.
    """
    name = _plain(key)
    if value is not None and (refused := name_refusal(key)):
        return refused
    if name.startswith(TAG + "."):
        return f"the tags {TAG}.* are written by the server alone"
    if name == TAG:
        if admin:
            return f"an admin never approves: the tag {TAG} is set by accounts without admin rights"
        return _approval_refusal(roles, key, value)
    if name == LIFECYCLE:
        return _lifecycle_refusal(roles, key, value)
    if _is_evidence(name) and Role.RELEASE not in roles:
        return f"the tag {key} is the release machine's"
    if name == REPRODUCTION and Role.TRAINING not in roles:
        return f"the tag {key} is given by training alone"
    if _is_unknown(roles, name):
        return f"the tag {key} is none that Perennial knows"
    # A missing tag is not added later: only the training knows its value.
    if name in FIXED and (value is None or tags.get(key) != value):
        return f"the tag {key} is given with the version and never changed"
    return ""


def _approval_refusal(roles: Roles, key: str, value: str | None) -> str:
    if key != TAG:
        return f"the tag is written {TAG}"
    if Role.APPROVER in roles or (Role.RELEASE in roles and value == WAITING):
        return ""
    return f"only accounts with the role {Role.APPROVER} set the tag {TAG}"


def _lifecycle_refusal(roles: Roles, key: str, value: str | None) -> str:
    if key != LIFECYCLE or value not in set(Lifecycle):
        return f"the tag is written {LIFECYCLE}, and its words are: {', '.join(Lifecycle)}"
    if Role.RELEASE in roles or (Role.TRAINING in roles and value == Lifecycle.STAGING):
        return ""
    return f"the tag {LIFECYCLE} follows releases; people set it with `perennial models retire` and `archive`"


def creation_refusal(roles: Roles, key: str) -> str:
    """Return why these roles may not create a version or model with this tag; empty when they may."""
    name = _plain(key)
    if refused := name_refusal(key):
        return refused
    if name == TAG or name.startswith(TAG + ".") or _is_evidence(name):
        return f"the tag {key} is not given at creation"
    if name in (*FIXED, LIFECYCLE) and Role.TRAINING not in roles:
        return f"the tag {key} is given by training alone"
    return f"the tag {key} is none that Perennial knows" if _is_unknown(roles, name) else ""


def form_refusal(tags: Mapping[str, str]) -> str:
    """Return why no version is created with these tags; empty where each has its form."""
    for key, form in FORMS.items():
        if key in tags and not form.fullmatch(tags[key]):
            return f"the tag {key} is {tags[key]!a}, not of the form {form.pattern}"
    return ""


def model_refusal(name: str, others: Collection[str]) -> str:
    """Return why nobody may create a model of this name beside the others; empty when they may."""
    if refused := name_refusal(name, "model"):
        return refused
    if name != name.strip():
        return f"the model name {name!a} begins or ends with a space"
    twin = next((other for other in others if other != name and _plain(other) == _plain(name)), None)
    return f"the model name {name!a} differs from {twin!a} only in case or spaces" if twin else ""


def alias_refusal(roles: Roles, alias: str) -> str:
    """Return why these roles may not move an alias; empty when they may."""
    if refused := name_refusal(alias, "alias"):
        return refused
    allowed = ALIASES.get(_plain(alias))
    if allowed is None or set(allowed) & set(roles):
        return ""
    return f"the alias {alias} is moved by: {', '.join(allowed)}"


def name_refusal(key: str, what: str = "tag") -> str:
    """Return why nobody may name a tag or alias so: look-alikes and control characters mislead readers."""
    if key.isascii() and key.isprintable():
        return ""
    return f"the {what} name {key!a} has characters other than printable ASCII"


def _is_evidence(name: str) -> bool:
    return any(name.startswith(tag) if tag.endswith(".") else name == tag for tag in EVIDENCE)


def _is_unknown(roles: Roles, name: str) -> bool:
    """Return whether a machine names a tag that is not Perennial's; people may have tags of their own."""
    machine = bool(roles) and not any(role.is_person() for role in roles)
    return machine and name not in (*FIXED, LIFECYCLE, REPRODUCTION) and not _is_evidence(name)


def _plain(name: str) -> str:
    """Normalise as a database that ignores case and outer spaces."""
    return name.strip().casefold()


def record(account: str, verb: str, digest: str, at: datetime) -> tuple[str, str]:
    """Return name and value of the tag that records an account's answer.

    Args:
        verb: `approved` or `rejected`.
    """
    return BY + account, f"{verb} {digest} {at.isoformat(timespec='seconds')}"
