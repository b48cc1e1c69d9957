"""Send notices about new ledger entries. After a kill and a repeat, each notice is sent at least once.

Releases do not wait for this, and a channel that is down delays only itself.
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
"""Lease of a channel: longer than a message takes, renewed after each. A killed sender blocks it this long."""
AT_ONCE = 20
"""Most notices that a pass sends to a channel, so that the others have their turn."""
LOOK_BACK = 1000
"""Number of entries before the end that are checked for freshness when a channel is new."""


@dataclass(frozen=True)
class NotifyPorts:
    """Ports of the notifier."""

    notifier: Notifier
    deliveries: Deliveries
    ledger: Ledger
    releases: ReleaseStore
    links: Links


@dataclass(frozen=True)
class DeliveryResult:
    """Result of a pass over a channel."""

    channel: str
    sent: int = 0
    error: str = ""


def deliver(ports: NotifyPorts, clock: Callable[[], datetime]) -> list[DeliveryResult]:
    """Make a pass over all channels, without those that another process has leased."""
    known = {delivery.channel: delivery for delivery in ports.deliveries.all()}
    results = (_pass(name, known.get(name), ports, clock) for name in ports.notifier.channels)
    return [result for result in results if result is not None]


def _pass(
    channel: str, known: Delivery | None, ports: NotifyPorts, clock: Callable[[], datetime]
) -> DeliveryResult | None:
    now, end = clock(), ports.ledger.end()[0]
    if known is not None and not _is_due(known, end, now):
        return None  # without a write: passes are frequent
    at = ports.deliveries.take(channel, _start(ports.ledger, now), now, now + LEASE)
    if at is None:
        return None
    try:
        return _send(at, end, ports, clock) if _is_due(at, end, now) else None
    finally:
        ports.deliveries.give_back(channel)


def _is_due(at: Delivery, end: int, now: datetime) -> bool:
    return at.seq < end and (at.retry_at is None or now >= at.retry_at)


def _send(at: Delivery, end: int, ports: NotifyPorts, clock: Callable[[], datetime]) -> DeliveryResult:
    sent = 0
    for row in ports.ledger.rows(kinds=notice.NOTABLE, after=at.seq):
        now = clock()
        if row.seq > end or sent == AT_ONCE:
            return DeliveryResult(at.channel, sent)
        if not notice.is_notable(row.entry):
            continue
        if now - row.entry.at > notice.GIVE_UP:
            ports.ledger.append(_given_up(row, at, now))
            at = at.skipped(row.seq)
        else:
            try:
                release_id = row.entry.release_id
                release = ports.releases.load(release_id) if release_id else None
                ports.notifier.send(at.channel, notice.compose(row, release, ports.links))
            except NotDelivered as error:
                ports.deliveries.put(at.failed(error.message, clock()), clock() + LEASE)
                return DeliveryResult(at.channel, sent, error.message)
            at, sent = at.delivered(row.seq, now), sent + 1
        ports.deliveries.put(at, clock() + LEASE)
    if at.seq < end:
        ports.deliveries.put(at.skipped(end), clock() + LEASE)
    return DeliveryResult(at.channel, sent)


def _start(ledger: Ledger, now: datetime) -> int:
    """Return the entry before the first fresh entry: a new channel gets no old notices."""
    end = ledger.end()[0]
    recent = ledger.rows(after=max(0, end - LOOK_BACK))
    return next((row.seq - 1 for row in recent if now - row.entry.at <= notice.FRESH), end)


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
