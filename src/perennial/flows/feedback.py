"""Store the labels and rewards that the model servers received."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from perennial.ports import FeedbackStore


class FeedbackBatch(Protocol):
    """Labels and rewards of a feedback request."""

    @property
    def at(self) -> datetime: ...
    @property
    def labels(self) -> dict[str, float]: ...
    @property
    def rewards(self) -> dict[str, float]: ...


class Inbox(Protocol):
    """Feedback that is received but not stored yet (see `serving.feedback_inbox`)."""

    def pending(self) -> tuple[Sequence[FeedbackBatch], Mapping[str, int]]: ...

    def stored(self, marks: Mapping[str, int]) -> None: ...


@dataclass(frozen=True)
class FeedbackCounts:
    """Number of labels and rewards that were read, and how many of them were new or changed."""

    received: int
    changed: int


def ingest(inbox: Inbox, store: FeedbackStore) -> FeedbackCounts:
    """Store the pending feedback, then mark it as stored.

    If the process is killed between the two steps, the same labels are stored again, which changes nothing.
    """
    batches, marks = inbox.pending()
    changed = 0
    for batch in batches:
        changed += store.put(batch.labels, batch.at)
        changed += store.put_rewards(batch.rewards, batch.at) if batch.rewards else 0
    inbox.stored(marks)
    return FeedbackCounts(sum(len(batch.labels) + len(batch.rewards) for batch in batches), changed)
