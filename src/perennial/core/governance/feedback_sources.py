"""Sources of labels and rewards: systems that may say how a prediction turned out. Keys are kept as a hash. Pure."""

from __future__ import annotations

import hmac
import re

from pydantic import AwareDatetime, Field

from perennial.core.frozen import Frozen
from perennial.core.governance.tokens import hashed

MARK = "pf"
"""First part of every key, so that scanners for secrets recognise one."""
NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")


class FeedbackSource(Frozen):
    """A stored source; its key is not stored, only the hash."""

    name: str = Field(pattern=rf"^{NAME.pattern}$")
    sha256: str = Field(min_length=64, max_length=64, repr=False)
    models: tuple[str, ...] = Field((), description="models that it may label; empty: every model")
    added_at: AwareDatetime
    added_by: str


def written(name: str, secret: str) -> str:
    """Return the key of a source as a text."""
    return f"{MARK}_{name}_{secret}"


def name_in(key: str) -> str:
    """Return the name of the source that a key claims to be of; empty if the text is no key."""
    parts = key.strip().split("_", 2)
    return parts[1] if len(parts) == 3 and parts[0] == MARK and all(parts) else ""


def opens(key: str, source: FeedbackSource) -> bool:
    """Return whether this is the key of the source, in the same time for every wrong key."""
    return hmac.compare_digest(hashed(key), source.sha256)
