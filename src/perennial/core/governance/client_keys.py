"""Clients and their rights by model, from an API key, which is kept as a hash, or from the claims of a JWT. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import AwareDatetime, Field

from perennial.core.frozen import Frozen
from perennial.core.governance.sender_name import JWT, NAME

MARK = "pc"
"""First part of every key, so that scanners for secrets recognise one."""
CLAIM, EVERY_MODEL = "perennial", "*"
"""Claim of a JWT with the rights, `{"predict": ["MODEL"], "explain": ["*"]}`, and the text for every model."""
HASH_DIGITS = 20
_HASH = re.compile(rf"[0-9a-f]{{{HASH_DIGITS}}}")


class Right(StrEnum):
    """Permissions of a client."""

    PREDICT = "predict"
    EXPLAIN = "explain"
    """Predictions with `explain: true`; of use with `predict` only."""
    REPOSITORY = "repository"
    """The list of versions that a server holds, and calls to load or unload a model."""
    FEEDBACK = "feedback"
    """Labels and rewards, as a source that has the client's name."""


class Client(Frozen):
    """A client that has signed in.

    Attributes:
        grants: right -> models; none: every model.
    """

    name: str = Field(pattern=rf"^{NAME.pattern}$")
    grants: Mapping[Right, tuple[str, ...]]

    def may(self, right: Right, model: str) -> bool:
        """Return whether the client has a right for a model."""
        models = self.grants.get(right)
        return models is not None and (not models or model in models)


def client_of(claims: Mapping[str, Any]) -> Client | None:
    """Return the client of the verified claims of a JWT; None where they name none, or no rights in the right form.

    The name begins with `JWT`. A subject that is no name becomes its hash, so does a subject that looks like a hash:
    whoever chose it would otherwise have the name of another subject.
    """
    subject, given = claims.get("sub"), claims.get(CLAIM, {})
    if not isinstance(subject, str) or not subject or not isinstance(given, dict):
        return None
    grants = {}
    for right in Right:
        models = given.get(right.value, [])
        if not isinstance(models, list) or not all(isinstance(model, str) for model in models):
            return None
        if models:
            grants[right] = () if EVERY_MODEL in models else tuple(models)
    name = f"{JWT}{subject}"
    if not NAME.fullmatch(name) or _HASH.fullmatch(subject):
        name = f"{JWT}{hashlib.sha256(subject.encode(errors='surrogatepass')).hexdigest()[:HASH_DIGITS]}"
    return Client(name=name, grants=grants)


class ClientKey(Frozen):
    """Stored facts about a key; the key itself is not stored."""

    name: str = Field(pattern=rf"^{NAME.pattern}$", description="the client")
    sha256: str = Field(min_length=64, max_length=64, repr=False)
    rights: frozenset[Right]
    models: tuple[str, ...] = Field((), description="models that it may ask; empty: every model")
    added_at: AwareDatetime
    added_by: str
    expires_at: AwareDatetime | None = None

    @property
    def client(self) -> Client:
        return Client(name=self.name, grants=dict.fromkeys(self.rights, self.models))

    def expired(self, now: datetime) -> bool:
        return self.expires_at is not None and now >= self.expires_at
