"""API keys of clients: who may ask which model for what. Keys are kept as a hash. Pure."""

from __future__ import annotations

import hmac
import re
from datetime import datetime
from enum import StrEnum

from pydantic import AwareDatetime, Field

from perennial.core.frozen import Frozen
from perennial.core.governance.tokens import hashed

MARK = "pc"
"""First part of every key, so that scanners for secrets recognise one."""
NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")


class Right(StrEnum):
    """Permissions of a key. Feedback has keys of its own (`core.governance.feedback_sources`)."""

    PREDICT = "predict"
    EXPLAIN = "explain"
    """Predictions with `explain: true`; of use with `predict` only."""


class ClientKey(Frozen):
    """Stored facts about a key; the key itself is not stored."""

    name: str = Field(pattern=rf"^{NAME.pattern}$", description="the client")
    sha256: str = Field(min_length=64, max_length=64, repr=False)
    rights: frozenset[Right]
    models: tuple[str, ...] = Field((), description="models that it may ask; empty: every model")
    added_at: AwareDatetime
    added_by: str
    expires_at: AwareDatetime | None = None

    def may(self, right: Right, model: str) -> bool:
        """Return whether the key has a right for a model."""
        return right in self.rights and (not self.models or model in self.models)

    def expired(self, now: datetime) -> bool:
        return self.expires_at is not None and now >= self.expires_at


def written(name: str, secret: str) -> str:
    """Return the key of a client as a text."""
    return f"{MARK}_{name}_{secret}"


def name_in(key: str) -> str:
    """Return the name of the client that a key claims to be of; empty if the text is no key."""
    parts = key.strip().split("_", 2)
    return parts[1] if len(parts) == 3 and parts[0] == MARK and all(parts) else ""


def opens(key: str, stored: ClientKey) -> bool:
    """Return whether this is the stored key, in the same time for every wrong key."""
    return hmac.compare_digest(hashed(key), stored.sha256)
