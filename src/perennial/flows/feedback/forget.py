"""Delete the comments in reviews: the store, the files of the servers, and an entry of the ledger that says so."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from perennial.core.events import Entry, Event
from perennial.flows.governance.identity import NO_MODEL
from perennial.ports import FeedbackStore, Ledger


class CommentFiles(Protocol):
    """Files with reviews as they were received (see `serving.feedback_inbox`)."""

    def forget_comments(self, source: str, prediction: str | None) -> None: ...


def forget_comments(
    source: str, prediction: str | None, files: CommentFiles, store: FeedbackStore, ledger: Ledger, actor: str,
    now: datetime,
) -> int:  # fmt: skip
    """Delete the comments of a source, about one prediction or all; return how many reviews of the store had one.

    The files come first: what is stored meanwhile comes from them.
    """
    files.forget_comments(source, prediction)
    forgotten = store.forget_comments(source, prediction)
    payload = {"source": source, "prediction": prediction, "comments": forgotten}
    ledger.append(Entry(at=now, actor=actor, kind=Event.COMMENTS_FORGOTTEN, model=NO_MODEL, payload=payload))
    return forgotten
