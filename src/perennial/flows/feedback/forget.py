"""Delete the comments in reviews: first a rule in the ledger, then what the files and the store have of them.

No comment comes back. The rule is written before anything is deleted, and the store asks for the rules in the
transaction in which it stores a review, which holds off new entries of the ledger. So a review is either stored after
the rule, without its comment, or before it, and then this flow deletes the comment. What a serving machine sends later
meets the rule. Killed anywhere, the flow is run again.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from perennial.core.events import Entry, Event
from perennial.core.governance.reviews import ForgottenComments
from perennial.errors import UsageError
from perennial.flows.governance.identity import NO_MODEL
from perennial.ports import FeedbackStore, Ledger

Overwritten = TypeVar("Overwritten", covariant=True)


class CommentFiles(Protocol[Overwritten]):
    """Files with reviews as they were received (see `serving.feedback_inbox`)."""

    def forget_comments(self, rule: ForgottenComments) -> Overwritten: ...


@dataclass(frozen=True)
class ForgetPorts:
    """Where comments are, and the ledger."""

    store: FeedbackStore
    ledger: Ledger


def forget_comments(
    source: str, prediction: str | None, files: CommentFiles[Overwritten], ports: ForgetPorts,
    known: Collection[str], actor: str, now: datetime,
) -> tuple[int, Overwritten]:  # fmt: skip
    """Delete the comments of a source that were received until now, about one prediction or all.

    A server whose clock is ahead may have received a stored review later than now; its comment is deleted too.

    Args:
        known: names of the present sources.

    Returns:
        The number of stored reviews that had a comment, and what the files had.

    Raises:
        UsageError: nobody knows the source; nothing is written.
    """
    times = [stored.at for stored in ports.store.reviews() if stored.source == source]
    if source not in known and not times and not _was_added(source, ports.ledger):
        raise UsageError(
            f"there is no source {source!r}, and there never was",
            hint="perennial feedback source list; perennial feedback reviews",
        )
    rule = ForgottenComments(source=source, prediction=prediction, until=max([now, *times]))
    payload = rule.model_dump(mode="json")
    ports.ledger.append(
        Entry(at=now, actor=actor, kind=Event.COMMENTS_FORGOTTEN, model=NO_MODEL, payload=payload)
    )
    overwritten = files.forget_comments(rule)
    return ports.store.forget_comments(rule), overwritten


def _was_added(source: str, ledger: Ledger) -> bool:
    rows = ledger.rows(NO_MODEL, kinds=(Event.FEEDBACK_SOURCE_ADDED,))
    return any(row.entry.payload.get("source") == source for row in rows)
