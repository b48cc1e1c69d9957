"""Timelines of the versions of a model, read from the ledger."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import AwareDatetime, Field

from perennial.core.events import Event, LedgerRow
from perennial.core.frozen import Frozen
from perennial.core.payloads import TrafficMove, VersionFact


class TimelineEntry(Frozen):
    """One event in the timeline of a version."""

    at: AwareDatetime
    what: str
    actor: str
    why: str = ""
    entry: int = Field(description="sequence number in the ledger")


class VersionTimeline(Frozen):
    """All events of a version, in order."""

    version: str
    digest: str | None = Field(description="None: the ledger has only the name of the version")
    events: tuple[TimelineEntry, ...]


def version_timelines(rows: Iterable[LedgerRow]) -> list[VersionTimeline]:
    """Return a timeline per version, in the order in which the versions first appear.

    A rollback is an event of two versions: the first loses the traffic, the other gets it back.

    Args:
        rows: ledger rows of a model, in order.
    """
    digests: dict[str, str | None] = {}
    events: dict[str, list[TimelineEntry]] = {}
    for row in rows:
        for version, digest, event in _events(row):
            events.setdefault(version, []).append(event)
            digests[version] = digest or digests.get(version)
    return [
        VersionTimeline(version=name, digest=digests[name], events=tuple(events[name])) for name in events
    ]


def _events(row: LedgerRow) -> Iterable[tuple[str, str | None, TimelineEntry]]:
    entry, fact = row.entry, VersionFact.read(row.entry)
    if entry.kind == Event.EMERGENCY_ROLLBACK:
        move = TrafficMove.read(entry)
        left, back = move.left or "", move.to or ""
        yield left, None, _timeline_entry(row, f"lost the traffic to {back} by rollback", fact)
        yield back, entry.digest, _timeline_entry(row, f"got the traffic back from {left} by rollback", fact)
    elif fact.version is None:
        return
    elif entry.kind == Event.SHARE_WITHDRAWN:
        kept = TrafficMove.read(entry).to
        what = f"lost its share by rollback, {kept} stayed champion"
        yield fact.version, entry.digest, _timeline_entry(row, what, fact)
    else:
        weight = None if fact.weight is None else f"{fact.weight:g} %"
        what = " ".join(filter(None, (entry.fact, weight, fact.verdict, fact.channel)))
        yield fact.version, entry.digest, _timeline_entry(row, what, fact)


def _timeline_entry(row: LedgerRow, what: str, fact: VersionFact) -> TimelineEntry:
    return TimelineEntry(at=row.entry.at, what=what, actor=row.entry.actor, why=fact.reason, entry=row.seq)
