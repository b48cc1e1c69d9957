"""When the backup answers in place of the champion: the alarm, told once at its begin and once at its end. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from pydantic import AwareDatetime, Field

from perennial.core.events import Entry, Event, SystemActor
from perennial.core.frozen import Frozen
from perennial.core.payloads import FailoverFact
from perennial.core.release.traffic import Counters, Route

QUIET = timedelta(seconds=60)
"""Without an answer of the backup for so long it is over: the champion may be slow to come back for good."""


class FailoverState(Frozen):
    """What is known of one model's backup."""

    counted: Counters = Field(description="as last seen")
    began_at: AwareDatetime | None = Field(None, description="since when it stands in; None: it does not")
    answered: int = Field(0, description="in place of the champion, since then")
    last_at: AwareDatetime | None = Field(None, description="when more answers were last seen")


def resume_state(last: Entry | None) -> FailoverState:
    """Where a watch that starts anew goes on: from the last failover entry in the ledger."""
    if last is None:
        return FailoverState(counted=Counters())
    fact = FailoverFact.read(last)
    counted = Counters(requests=fact.counted)
    if last.kind == Event.FAILOVER_ENDED:
        return FailoverState(counted=counted)
    return FailoverState(counted=counted, began_at=last.at, answered=fact.answered, last_at=last.at)


def watch_failover(
    route: Route, before: FailoverState, counted: Counters, healthy: Mapping[str, int], now: datetime
) -> tuple[FailoverState, Entry | None]:
    """The standing now, and what the ledger must hear.

    Args:
        counted: what the backup answered since the router's start.
        healthy: servers by pool.
    """
    counted = Counters(requests=counted.requests)  # the ledger keeps no more of it
    more = counted.since(before.counted).requests
    began, seen = before.began_at, before.answered + more
    if more and began is None:
        standing = FailoverState(counted=counted, began_at=now, answered=more, last_at=now)
        return standing, _entry(Event.FAILOVER_BEGAN, route, standing, healthy, now)
    if began is None:
        return FailoverState(counted=counted), None
    last = now if more else before.last_at or began
    if now - last < QUIET:
        return FailoverState(counted=counted, began_at=began, answered=seen, last_at=last), None
    over = before.model_copy(update={"counted": counted, "answered": seen})
    return FailoverState(counted=counted), _entry(Event.FAILOVER_ENDED, route, over, healthy, now)


def _entry(
    kind: Event, route: Route, standing: FailoverState, healthy: Mapping[str, int], now: datetime
) -> Entry:
    """Without a backup of its own a champion is held by the other pool as well."""
    backup = route.backup or route.stable
    return Entry(
        at=now,
        actor=SystemActor.FAILOVER_WATCH,
        kind=kind,
        model=route.model,
        release_id=backup.release_id,
        digest=backup.digest,
        payload={
            "backup": backup.version,
            "champion": route.stable.version,
            "answered": standing.answered,
            "counted": standing.counted.requests,
            "healthy": dict(healthy),
            "since": standing.began_at.isoformat() if standing.began_at else None,
        },
    )
