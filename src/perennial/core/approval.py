"""Approvals: who allowed which digest to get traffic, through which channel, until when."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import AwareDatetime, Field

from perennial.core.spec import ApprovalSpec, Frozen

TAG = "approval"
"""Tag on a registry version: `approved`, `approved <digest prefix>` or `rejected`, set by a person."""
WAITING = "waiting"
"""The tag's value after a gate: whatever it said before was said of no gated digest."""
PREFIX = 8
"""Fewest digits of a digest that name it."""


class Risk(StrEnum):
    LOW = "low"
    HIGH = "high"


class Approval(Frozen):
    """Allows exactly one digest."""

    digest: str
    actor: str
    at: AwareDatetime
    channel: str = Field(description="policy, mlflow, airflow or cli")
    note: str = ""

    def valid(self, digest: str, spec: ApprovalSpec, now: datetime) -> bool:
        return self.digest == digest and now - self.at <= spec.lapses_after


class TagAnswer(StrEnum):
    """What a person wrote into the approval tag."""

    NONE = "none"
    APPROVED = "approved"
    REJECTED = "rejected"
    OTHER_DIGEST = "approved, but another digest"
    UNREADABLE = "unreadable"


def names_digest(text: str, digest: str) -> bool:
    """Whether `text` is the digest or a prefix of it that is long enough to mean it."""
    return len(text) >= PREFIX and digest.startswith(text.lower())


def read_tag(value: str | None, digest: str) -> TagAnswer:
    """Read the tag of the version whose gated file has this digest."""
    words = (value or "").split()
    if not words or words == [WAITING]:
        return TagAnswer.NONE
    verb, named = words[0].lower(), words[1:]
    if verb == "rejected":
        return TagAnswer.REJECTED
    if verb != "approved" or len(named) > 1:
        return TagAnswer.UNREADABLE
    if named and not names_digest(named[0], digest):
        return TagAnswer.OTHER_DIGEST
    return TagAnswer.APPROVED


def automatic(spec: ApprovalSpec, risk: Risk, digest: str, now: datetime) -> Approval | None:
    """The approval that the spec itself gives; None when it wants a person."""
    who = spec.low_risk if risk is Risk.LOW else spec.high_risk
    if who == "person":
        return None
    return Approval(digest=digest, actor="policy", at=now, channel="policy", note=f"{risk.value} risk")
