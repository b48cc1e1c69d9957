"""Watch the traffic between releases: record failovers, and write down what rollbacks left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from perennial.core.events import Entry, Event, SystemActor
from perennial.core.payloads import FailoverFact
from perennial.core.release.failover import FailoverState, resume_state, watch_failover
from perennial.core.release.traffic import BACKUP, Route
from perennial.errors import PerennialError
from perennial.ports import Ledger, Router

MOST_DIFFERENCES = 5
"""Differences that an entry of the ledger names."""


@dataclass(frozen=True)
class FailoverWatchPorts:
    """Tools that the failover watch uses."""

    router: Router
    ledger: Ledger
    record_rollbacks: Callable[[datetime], list[str]]
    """Writes journalled rollbacks into the record; returns what is left (`flows.release.rollback_record`)."""


class FailoverWatch:
    """Watch over several models. A tool that is down costs a pass; after a kill it goes on from the ledger."""

    def __init__(self, models: Sequence[str], ports: FailoverWatchPorts) -> None:
        self.ports = ports
        self._models = models
        self._states: dict[str, FailoverState] = {}
        self._differences: tuple[str, ...] = ()

    def look(self, now: datetime) -> list[str]:
        """Make a pass over all models; return the events as lines for the log."""
        lines: list[str] = []
        try:
            lines += self._check_router(now)
        except PerennialError as error:
            lines.append(f"router: {type(error).__name__}: {error.message}")
        for model in self._models:
            try:
                lines += self._look_at(model, now)
            except PerennialError as error:
                lines.append(f"{model}: {type(error).__name__}: {error.message}")
        try:
            lines += self.ports.record_rollbacks(now)
        except PerennialError as error:
            lines.append(f"rollbacks: {type(error).__name__}: {error.message}")
        return lines

    def _check_router(self, now: datetime) -> list[str]:
        """Record what the router does other than the confirmed routes say, then repair it.

        A difference that lasts is repaired at each pass and recorded once.
        """
        router = self.ports.router
        differences = tuple(router.differences())[:MOST_DIFFERENCES]
        if not differences:
            self._differences = ()
            return []
        if differences != self._differences:
            for model in self._models:
                route = router.route(model)
                if route is not None:
                    self.ports.ledger.append(_changed_outside(route, differences, now))
            self._differences = differences
        router.repair()
        return [f"ALARM {Event.ROUTE_CHANGED_OUTSIDE}: {text}" for text in differences]

    def _look_at(self, model: str, now: datetime) -> list[str]:
        route = self.ports.router.route(model)
        if route is None:
            return []
        before = self._states.get(model) or self._resumed(model)
        counted = self.ports.router.counters(model)[BACKUP]
        state, entry = watch_failover(route, before, counted, self.ports.router.healthy(model), now)
        if entry is not None:
            self.ports.ledger.append(entry)
        self._states[model] = state  # after the ledger: an entry that it refused is repeated by the next pass
        if entry is None:
            return []
        fact = FailoverFact.read(entry)
        words = (
            "answers in place of" if entry.kind == Event.FAILOVER_BEGAN else "no longer answers in place of"
        )
        return [
            f"ALARM {entry.kind}: {model} {fact.backup} {words} {fact.champion} ({fact.answered} answers)"
        ]

    def _resumed(self, model: str) -> FailoverState:
        rows = self.ports.ledger.rows(model, kinds=(Event.FAILOVER_BEGAN, Event.FAILOVER_ENDED), newest=1)
        return resume_state(rows[-1].entry if rows else None)


def _changed_outside(route: Route, differences: Sequence[str], now: datetime) -> Entry:
    return Entry(
        at=now,
        actor=SystemActor.FAILOVER_WATCH,
        kind=Event.ROUTE_CHANGED_OUTSIDE,
        model=route.model,
        release_id=route.stable.release_id,
        digest=route.stable.digest,
        payload={"version": route.stable.version, "differences": list(differences)},
    )
