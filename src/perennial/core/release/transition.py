"""One transition of the release machine while it is decided: the status so far, what to do, what to record."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from perennial.core.events import Entry, Event, SystemActor
from perennial.core.release.observation import (
    Action,
    ClearAlias,
    Drop,
    EnsureLoaded,
    Observation,
    SetAlias,
    SetRoute,
    SetTags,
    TransitionResult,
)
from perennial.core.release.phase import Phase
from perennial.core.release.status import ReleaseStatus
from perennial.core.release.traffic import PoolName, Route
from perennial.core.version import Lifecycle, VersionRef

LIFECYCLES = {Phase.SUCCEEDED: Lifecycle.PRODUCTION, Phase.OBSERVED: Lifecycle.STAGING}


class Transition:
    """Collects; decides nothing. Lives for one call of `decide`.

    Attributes:
        erred: something could not be measured, whether it was counted or came too soon after the last.
    """

    def __init__(self, status: ReleaseStatus, seen: Observation, now: datetime) -> None:
        self.status = status
        self.seen = seen
        self.now = now
        self.erred = False
        self._actions: list[Action] = []
        self._entries: list[Entry] = []

    def decision(self) -> TransitionResult:
        return TransitionResult(
            status=self.status, actions=tuple(self._actions), entries=tuple(self._entries)
        )

    @property
    def has_share(self) -> bool:
        """Whether the live route gives requests, or copies of them, to the candidate of this release."""
        live = self.seen.route
        return live is not None and self.status.target in (live.stable, live.canary)

    def update(self, **changes: Any) -> None:
        self.status = self.status.model_copy(update=changes)

    def record(self, event: Event, actor: str = SystemActor.MACHINE, **payload: Any) -> None:
        self._entries.append(
            Entry(
                at=self.now,
                actor=actor,
                kind=event,
                model=self.status.model,
                release_id=self.status.release_id,
                digest=self.status.candidate.digest,
                payload={"version": self.status.candidate.version, **payload},
            )
        )

    def enter(
        self, phase: Phase, why: str, actor: str = SystemActor.MACHINE, step: int = 0, **facts: Any
    ) -> None:
        """Begin a phase, or a step of CANARY: its clock and its counters start now.

        Args:
            facts: more for the ledger.
        """
        told = self.status.phase is Phase.ABORTING  # the entry before this one has the evidence
        evidence = [] if told else [one.model_dump(mode="json") for one in self.status.evidence]
        ends = phase is Phase.ABORTING or phase.is_final()
        self.update(
            phase=phase,
            step=step,
            entered_at=self.now,
            counted={},
            baseline=dict(self.seen.counters),
            accuracy={},
            accuracy_at=None,
            units=None,
            evidence=self.status.evidence if ends else (),
            before=None,
            errors_in_a_row=0,
            last_error_at=None,
            note=why,
        )
        if phase is Phase.CANARY and self.status.current is not None:
            facts["weight"] = self.status.current.weight
        self.record(phase.event, actor, why=why, evidence=evidence, **facts)

    # What the world must look like.

    def ensure(self, pool: PoolName, ref: VersionRef | None = None) -> None:
        """That the pool holds a version; the candidate by default."""
        self._actions.append(EnsureLoaded(pool=pool.value, ref=ref or self.status.candidate))

    def drop(self, pool: PoolName, digest: str) -> None:
        self._actions.append(Drop(pool=pool.value, digest=digest))

    def leave_pools(self) -> None:
        """The candidate leaves the pools, unless another release still needs it there."""
        if self.seen.shared:
            return
        route, mine = self.seen.route, self.status.candidate.digest
        named = [one.digest for one in (route.stable, route.backup) if one] if route is not None else []
        if mine not in named:  # champion and backup stay where they are
            self.drop(PoolName.CANARY, mine)
            self.drop(PoolName.STABLE, mine)

    def route(self, wanted: Route) -> None:
        """Repeated whenever the live route is another one, so that a lost route comes back."""
        if self.seen.route != wanted:
            self._actions.append(SetRoute(route=wanted))

    def alias(self, alias: str, key: str) -> None:
        self._actions.append(SetAlias(alias=alias, key=key))

    def clear_alias(self, alias: str) -> None:
        self._actions.append(ClearAlias(alias=alias, key=self.status.candidate.key))

    def tag(self, key: str, **tags: str) -> None:
        self._actions.append(SetTags(key=key, tags=tags))

    def finish(self, phase: Phase, why: str, actor: str = SystemActor.MACHINE) -> None:
        """End the release; the version shows how."""
        self.enter(phase, why, actor)
        self.update(pauses=frozenset(), outcome=None)
        self._actions.append(
            SetTags(
                key=self.status.candidate.key,
                tags={
                    "release": self.status.release_id,
                    "release.phase": phase.value,
                    "release.why": why,
                    "lifecycle": LIFECYCLES.get(phase, Lifecycle.ARCHIVED).value,
                },
            )
        )
