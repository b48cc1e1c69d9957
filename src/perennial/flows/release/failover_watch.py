"""Watch the traffic between releases: record failovers and changed routes, repair them, write down rollbacks, and
walk releases that nobody walks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from perennial.core.events import Entry, Event, SystemActor
from perennial.core.payloads import FailoverFact
from perennial.core.release.failover import FailoverState, resume_state, watch_failover
from perennial.core.release.traffic import BACKUP, Counters, Route
from perennial.errors import PerennialError, RouterRejected
from perennial.flows.release.attendance import Attendance, AttendancePorts
from perennial.flows.release.load_policy import LoadPolicyPorts, keep_load_policies
from perennial.flows.release.record_reader import RecordReader
from perennial.flows.release.recorded_route import RecordedRoutePorts, compare_with_record, restore
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
    recorded: RecordedRoutePorts | None
    """Tools of the comparison with the record; None: routes are not compared with it."""
    attendance: AttendancePorts | None = None
    """Tools of the watch over releases; None: releases are not watched."""
    loads: LoadPolicyPorts | None = None
    """Tools that keep how the servers hold a model; None: that stays."""


class FailoverWatch:
    """Watch over several models. A tool that is down costs a pass; after a kill it goes on from the ledger."""

    def __init__(self, models: Sequence[str], ports: FailoverWatchPorts, once: bool = False) -> None:
        """Take the tools; `once`: a single pass, which gives nobody time to walk a release first."""
        self.ports = ports
        self._models = models
        self._states: dict[str, FailoverState] = {}
        self._told: dict[str, tuple[str, ...]] = {}
        self._backups: Mapping[str, int] | None = None
        self._accepted: dict[str, int] = {}
        self._unrecorded: list[Entry] = []
        self._reader = RecordReader(ports.recorded) if ports.recorded is not None else None
        self._attendance = Attendance(ports.attendance, once) if ports.attendance is not None else None

    def look(self, now: datetime) -> list[str]:
        """Make a pass over all models; return the events as lines for the log."""
        # Rollbacks first: then the ledger names the version that the traffic went back to.
        lines = self._attempt("rollbacks", lambda: self.ports.record_rollbacks(now))
        for model in self._suspects():
            lines += self._attempt(model, partial(self._check_record, model, now))
        lines += self._attempt("router", lambda: self._check_router(now))
        lines += self._attempt("router's log", self._keep_log_small)
        self._backups = self._read_backups()
        for model in self._models:
            lines += self._attempt(model, partial(self._look_at, model, now))
        lines += self._attempt("ledger", self._record)
        if self.ports.loads is not None:
            lines += keep_load_policies(self._models, self.ports.loads)
        if (attendance := self._attendance) is not None:  # last: a walk may take seconds
            lines += self._attempt("releases", lambda: attendance.look(self._models, now))
        return lines

    def _attempt(self, what: str, part: Callable[[], list[str]]) -> list[str]:
        try:
            return part()
        except PerennialError as error:
            return [f"{what}: {type(error).__name__}: {error.message}"]

    def _suspects(self) -> Sequence[str]:
        """Return the models to compare with the record one by one; all, where they cannot be read together."""
        if self._reader is None:
            return ()
        try:
            suspects = self._reader.suspects(self._models)
        except PerennialError:
            return self._models
        for model in set(self._models).difference(suspects):
            self._told.pop(model, None)
        return suspects

    def _check_record(self, model: str, now: datetime) -> list[str]:
        """Restore a confirmed route that is not the one that the ledger and the releases call for."""
        ports = self.ports.recorded
        if ports is None:
            return []
        off = compare_with_record(model, ports)
        if off is None:
            self._told.pop(model, None)
            return []
        differences = off.differences
        route = off.live or off.recorded
        self._tell(model, [route] if route is not None else [], differences, now)
        lines = [f"ALARM {Event.ROUTE_CHANGED_OUTSIDE}: {model}: {text}" for text in differences]
        left = restore(off, ports)
        return [*lines, f"{model}: not restored: {left}"] if left else lines

    def _check_router(self, now: datetime) -> list[str]:
        """Repair what the router does other than the confirmed routes say."""
        router = self.ports.router
        try:
            differences = tuple(router.differences())[:MOST_DIFFERENCES]
        except RouterRejected as error:
            router.repair()
            lines = [f"ALARM {Event.ROUTE_CHANGED_OUTSIDE}: {error.message}"]
            return [*lines, *(line for model in self._models for line in self._check_record(model, now))]
        routes = [route for route in map(router.route, self._models) if route is not None]
        self._tell("", routes, differences, now)
        if differences:
            router.repair()
        return [f"ALARM {Event.ROUTE_CHANGED_OUTSIDE}: {text}" for text in differences]

    def _keep_log_small(self) -> list[str]:
        self.ports.router.keep_log_small()
        return []

    def _tell(
        self, subject: str, routes: Sequence[Route], differences: tuple[str, ...], now: datetime
    ) -> None:
        """Have differences recorded; lasting differences are repaired at each pass and recorded once."""
        if differences and differences != self._told.get(subject):
            self._unrecorded += (_changed_outside(route, differences, now) for route in routes)
        self._told[subject] = differences

    def _record(self) -> list[str]:
        """Append what was repaired; an entry that the ledger refuses is repeated by the next pass."""
        while self._unrecorded:
            self.ports.ledger.append(self._unrecorded[0])
            self._unrecorded.pop(0)
        return []

    def _look_at(self, model: str, now: datetime) -> list[str]:
        route = self.ports.router.route(model)
        if route is None:
            return []
        before = self._states.get(model) or self._resumed(model)
        accepted = None if self._backups is None else self._backups.get(model, 0)
        if before.began_at is None and accepted in (0, self._accepted.get(model)) and accepted is not None:
            self._states[model] = before if accepted else FailoverState(counted=Counters())
            return []  # its backup was not asked since the last look
        counted = self.ports.router.counters(model)[BACKUP]
        state, entry = watch_failover(route, before, counted, self.ports.router.healthy(model), now)
        if entry is not None:
            self.ports.ledger.append(entry)
        if accepted is not None:
            self._accepted[model] = accepted
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

    def _read_backups(self) -> Mapping[str, int] | None:
        """Return what the backups accepted; None where the router does not say: each model is asked for then."""
        try:
            return self.ports.router.backups()
        except PerennialError:
            return None

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
