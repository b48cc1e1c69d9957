"""Add and revoke sources of feedback; every change is an entry of the ledger."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Protocol

from perennial.core.events import Entry, Event
from perennial.core.governance.feedback_sources import MARK, FeedbackSource
from perennial.core.governance.secret_text import hashed, written
from perennial.core.governance.sender_name import check_name
from perennial.errors import UsageError
from perennial.flows.governance.identity import NO_MODEL
from perennial.ports import Ledger


class SourceFile(Protocol):
    """The stored sources (see `serving.evidence.sources`)."""

    def put(self, source: FeedbackSource) -> None: ...

    def remove(self, name: str) -> FeedbackSource | None: ...


def add_source(
    name: str,
    models: Collection[str],
    actor: str,
    sources: SourceFile,
    ledger: Ledger,
    now: datetime,
    random: Callable[[int], str],
    taken: Collection[str],
) -> str:
    """Add a source, or give it a new key; returns the key, which is stored nowhere.

    Args:
        models: models that it may label; empty for every model.
        taken: names of clients.
        random: number of bytes -> random bytes as hexadecimal text.

    Raises:
        UsageError: the name cannot be used.
    """
    check_name(name, "source", taken)
    key = written(MARK, name, random(32))
    source = FeedbackSource(
        name=name, sha256=hashed(key), models=tuple(sorted(set(models))), added_at=now, added_by=actor
    )
    ledger.append(_entry(Event.FEEDBACK_SOURCE_ADDED, source, actor, now))
    sources.put(source)
    return key


def revoke_source(name: str, actor: str, sources: SourceFile, ledger: Ledger, now: datetime) -> None:
    """End the key of a source; what it has labelled stays.

    Raises:
        UsageError: there is no such source.
    """
    source = sources.remove(name)
    if source is None:
        raise UsageError(f"there is no source {name!r}", hint="perennial feedback source list")
    ledger.append(_entry(Event.FEEDBACK_SOURCE_REVOKED, source, actor, now))


def _entry(kind: Event, source: FeedbackSource, actor: str, now: datetime) -> Entry:
    payload = {"source": source.name, "models": list(source.models)}
    return Entry(at=now, actor=actor, kind=kind, model=NO_MODEL, payload=payload)
