"""Detect that the backup answers in place of the champion: one ledger entry at the begin, one at the end. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from pydantic import AwareDatetime, Field

from perennial.core.events import Entry, Event, SystemActor
from perennial.core.frozen import Frozen
from perennial.core.payloads import FailoverFact
from perennial.core.release.traffic import Counters, Route

QUIET = timedelta(seconds=60)
"""A failover ends after so much time without an answer of the backup: the champion may come and go at first."""


class FailoverState(Frozen):
    """Known state of one model's backup."""

    counted: Counters = Field(description="counters at the last look")
    began_at: AwareDatetime | None = Field(None, description="begin of the failover; None: there is none")
    answered: int = Field(0, description="answers in place of the champion since then")
    last_at: AwareDatetime | None = Field(None, description="time at which more answers were last seen")


def resume_state(last: Entry | None) -> FailoverState:
    """Return the state in which a restarted watch goes on, from the last failover entry in the ledger."""
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
    """Return the state now, and an entry for the ledger where a failover begins or ends.

    Args:
        counted: answers of the backup since the router's start.
        healthy: pool -> number of healthy servers.
    """
    # Failed attempts are no answers. The ledger keeps no more than the number.
    counted = Counters(requests=max(0, counted.requests - counted.errors))
    more = counted.since(before.counted).requests
    began, seen = before.began_at, before.answered + more
    if more and began is None:
        state = FailoverState(counted=counted, began_at=now, answered=more, last_at=now)
        return state, _entry(Event.FAILOVER_BEGAN, route, state, healthy, now)
    if began is None:
        return FailoverState(counted=counted), None
    last = now if more else before.last_at or began
    if now - last < QUIET:
        return FailoverState(counted=counted, began_at=began, answered=seen, last_at=last), None
    over = before.model_copy(update={"counted": counted, "answered": seen})
    return FailoverState(counted=counted), _entry(Event.FAILOVER_ENDED, route, over, healthy, now)


def _entry(
    kind: Event, route: Route, state: FailoverState, healthy: Mapping[str, int], now: datetime
) -> Entry:
    backup = route.backup or route.stable  # a champion without a backup of its own is in the other pool, too
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
            "answered": state.answered,
            "counted": state.counted.requests,
            "healthy": dict(healthy),
            "since": state.began_at.isoformat() if state.began_at else None,
        },
    )
