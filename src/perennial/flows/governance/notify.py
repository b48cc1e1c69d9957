"""Tell people what the ledger says since they were last told. Killed and repeated, each is told at least once.

Nothing of a release waits for this: it runs beside, and a channel that is down keeps only itself waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from perennial.core.events import Entry, Event, LedgerRow, SystemActor
from perennial.core.governance import notices as notice
from perennial.core.governance.notices import Delivery, Links
from perennial.errors import NotDelivered
from perennial.ports import Deliveries, Ledger, Notifier, ReleaseStore

LEASE = timedelta(minutes=1)
"""Longer than one message takes; renewed after each. So long waits a channel whose sender was killed."""
AT_ONCE = 20
"""Notices that one pass tells one channel at most, so that the others have their turn."""
LOOK_BACK = 1000
"""Entries before the end that may be fresh when a channel is new."""


@dataclass(frozen=True)
class NotifyPorts:
    notifier: Notifier
    deliveries: Deliveries
    ledger: Ledger
    releases: ReleaseStore
    links: Links


@dataclass(frozen=True)
class DeliveryResult:
    """One pass over one channel."""

    channel: str
    told: int = 0
    error: str = ""


def deliver(ports: NotifyPorts, clock: Callable[[], datetime]) -> list[DeliveryResult]:
    """One pass over all channels; those that somebody else tells just now are left to them."""
    known = {one.channel: one for one in ports.deliveries.all()}
    found = (_pass(name, known.get(name), ports, clock) for name in ports.notifier.channels)
    return [one for one in found if one is not None]


def _pass(
    channel: str, known: Delivery | None, ports: NotifyPorts, clock: Callable[[], datetime]
) -> DeliveryResult | None:
    now, end = clock(), ports.ledger.end()[0]
    if known is not None and not _is_due(known, end, now):
        return None  # without a write: a pass is made every few seconds
    at = ports.deliveries.take(channel, _start(ports.ledger, now), now, now + LEASE)
    if at is None:
        return None
    try:
        return _tell(at, end, ports, clock) if _is_due(at, end, now) else None
    finally:
        ports.deliveries.give_back(channel)


def _is_due(at: Delivery, end: int, now: datetime) -> bool:
    return at.seq < end and (at.retry_at is None or now >= at.retry_at)


def _tell(at: Delivery, end: int, ports: NotifyPorts, clock: Callable[[], datetime]) -> DeliveryResult:
    told = 0
    for row in ports.ledger.rows(kinds=notice.NOTABLE, after=at.seq):
        now = clock()
        if row.seq > end or told == AT_ONCE:
            return DeliveryResult(at.channel, told)
        if not notice.is_notable(row.entry):
            continue
        if now - row.entry.at > notice.GIVE_UP:
            ports.ledger.append(_given_up(row, at, now))
            at = at.skipped(row.seq)
        else:
            try:
                ports.notifier.send(at.channel, notice.compose(row, _release(row, ports), ports.links))
            except NotDelivered as error:
                ports.deliveries.put(at.failed(error.message, clock()), clock() + LEASE)
                return DeliveryResult(at.channel, told, error.message)
            at, told = at.told(row.seq, now), told + 1
        ports.deliveries.put(at, clock() + LEASE)
    if at.seq < end:
        ports.deliveries.put(at.skipped(end), clock() + LEASE)
    return DeliveryResult(at.channel, told)


def _start(ledger: Ledger, now: datetime) -> int:
    """Before the first fresh entry: who sets up a channel is not told the past."""
    end = ledger.end()[0]
    recent = ledger.rows(after=max(0, end - LOOK_BACK))
    return next((row.seq - 1 for row in recent if now - row.entry.at <= notice.FRESH), end)


def _release(row: LedgerRow, ports: NotifyPorts):
    return ports.releases.load(row.entry.release_id) if row.entry.release_id else None


def _given_up(row: LedgerRow, at: Delivery, now: datetime) -> Entry:
    return Entry(
        at=now,
        actor=SystemActor.NOTIFIER,
        kind=Event.NOTICE_UNDELIVERED,
        model=row.entry.model,
        release_id=row.entry.release_id,
        digest=row.entry.digest,
        payload={"entry": row.seq, "what": row.entry.kind, "channel": at.channel, "why": at.error},
    )
