"""API keys of clients: who may ask which model for what. Keys are kept as a hash. Pure."""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum

from pydantic import AwareDatetime, Field

from perennial.core.frozen import Frozen

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
