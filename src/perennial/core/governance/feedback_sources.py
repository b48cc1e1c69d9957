"""Sources of labels and rewards: systems that may say how a prediction turned out. Keys are kept as a hash. Pure."""

from __future__ import annotations

from pydantic import AwareDatetime, Field

from perennial.core.frozen import Frozen
from perennial.core.governance.sender_name import NAME

MARK = "pf"
"""First part of every key, so that scanners for secrets recognise one."""


class Source(Frozen):
    """An authenticated source."""

    name: str = Field(pattern=rf"^{NAME.pattern}$")
    models: tuple[str, ...] = Field((), description="models that it may label; empty: every model")


class FeedbackSource(Source):
    """A stored source; its key is not stored, only the hash."""

    sha256: str = Field(min_length=64, max_length=64, repr=False)
    added_at: AwareDatetime
    added_by: str
