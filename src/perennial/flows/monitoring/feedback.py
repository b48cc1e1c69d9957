"""Labels: from the files of the model servers into the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from perennial.ports import FeedbackStore


class FeedbackBatch(Protocol):
    """Labels and rewards that came together."""

    at: datetime
    labels: dict[str, float]
    rewards: dict[str, float]


class Inbox(Protocol):
    """What came and nobody has stored yet (see serving.feedback_inbox)."""

    def pending(self) -> tuple[Sequence[FeedbackBatch], Mapping[str, int]]: ...

    def stored(self, marks: Mapping[str, int]) -> None: ...


@dataclass(frozen=True)
class FeedbackCounts:
    """How many labels and rewards were read, and how many of them were new or other than before."""

    received: int
    changed: int


def ingest(inbox: Inbox, store: FeedbackStore) -> FeedbackCounts:
    """Store first, then mark as stored: killed between the two, the same labels are stored once more,
    which changes nothing."""
    pending, marks = inbox.pending()
    changed = 0
    for one in pending:
        changed += store.put(one.labels, one.at)
        changed += store.put_rewards(one.rewards, one.at) if one.rewards else 0
    inbox.stored(marks)
    return FeedbackCounts(sum(len(one.labels) + len(one.rewards) for one in pending), changed)
