"""The working copy of one pass of the release machine: status so far, actions to take, entries to record."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from perennial.core.events import Entry, Event, SystemActor
from perennial.core.release.label_counts import LabelledStep, without_overlap
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
from perennial.core.release.status import Pause, ReleaseStatus
from perennial.core.release.traffic import PoolName, Route
from perennial.core.version import Lifecycle, VersionRef

LIFECYCLES = {Phase.SUCCEEDED: Lifecycle.PRODUCTION, Phase.OBSERVED: Lifecycle.STAGING}


class Transition:
    """Collector of what one call of `decide` changes. It holds no rule of a phase.

    Attributes:
        erred: a measurement failed in this pass, also where it came too soon after the last to be counted.
    """

    def __init__(self, status: ReleaseStatus, seen: Observation, now: datetime) -> None:
        self.status = status
        self.seen = seen
        self.now = now
        self.erred = False
        self._actions: list[Action] = []
        self._entries: list[Entry] = []

    def result(self) -> TransitionResult:
        """Return everything collected."""
        return TransitionResult(
            status=self.status, actions=tuple(self._actions), entries=tuple(self._entries)
        )

    @property
    def has_share(self) -> bool:
        """True when the live route gives requests, or copies of them, to the candidate of this release."""
        live = self.seen.route
        return live is not None and self.status.target in (live.stable, live.canary)

    @property
    def champion_moved(self) -> bool:
        """True when somebody else changed the champion since the start: this release must not undo that."""
        live, known = self.seen.route, self.status.champion
        return (live.stable.digest if live else None) != (known.digest if known else None)

    def update(self, **changes: Any) -> None:
        """Change fields of the status."""
        self.status = self.status.model_copy(update=changes)

    def record(self, event: Event, actor: str = SystemActor.MACHINE, **payload: Any) -> None:
        """Add an entry about the candidate for the ledger."""
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

    def pause(self, reason: Pause) -> None:
        """Add a reason to pause, and record it the first time."""
        if reason not in self.status.pauses:
            self.update(pauses=self.status.pauses | {reason}, note=f"paused: {reason.value}")
            self.record(Event.RELEASE_PAUSED, why=reason.value)

    def enter(
        self, phase: Phase, why: str, actor: str = SystemActor.MACHINE, step: int = 0, **facts: Any
    ) -> None:
        """Begin a phase, or a step of CANARY: its clock and its counters start now.

        Args:
            facts: further keys of the ledger entry.
        """
        self.update(dependence=self.status.dependence_so_far)
        aborting = self.status.phase is Phase.ABORTING  # then the entry before this one has the evidence
        evidence = [] if aborting else [rule.model_dump(mode="json") for rule in self.status.evidence]
        ends = phase is Phase.ABORTING or phase.is_final()
        self.update(
            phase=phase,
            step=step,
            evidence=self.status.evidence if ends else (),
            before=None,
            slices_before=(),
            labelled_steps=self._labelled_steps(phase),
            note=why,
            **self.fresh_measurements(),
        )
        if phase is Phase.CANARY and self.status.current is not None:
            facts["weight"] = self.status.current.weight
        self.record(phase.event, actor, why=why, evidence=evidence, **facts)

    def _labelled_steps(self, phase: Phase) -> tuple[LabelledStep, ...]:
        """Return the steps whose labels count in a phase that begins now: those before it in which both answered."""
        status = self.status
        if phase is not Phase.CANARY or status.current is None:
            return ()
        earlier = without_overlap(status.labelled_steps, status.entered_at)
        if status.current.takes_all or status.entered_at >= self.now:
            return earlier
        ended = LabelledStep(began=status.entered_at, ended=self.now, labels=status.accuracy)
        return (*earlier, ended)

    def fresh_measurements(self) -> dict[str, Any]:
        """Return the status fields of a step that begins now: nothing is measured in it yet."""
        return {
            "entered_at": self.now,
            "counted": {},
            "slices": (),
            "baseline": dict(self.seen.counters),
            "accuracy": {},
            "accuracy_at": None,
            "label_delay": self.status.specified_delay,
            "units": None,
            **self._unread_users(),
            "suspected_slow": False,
            "like_requests": None,
            "errors_in_a_row": 0,
            "last_error_at": None,
        }

    def _unread_users(self) -> dict[str, Any]:
        seen = self.seen.user_buckets
        return {"users": {}, "users_read": seen.read if seen else {}, "users_problems": ()}

    def finish(self, phase: Phase, why: str, actor: str = SystemActor.MACHINE) -> None:
        """End the release and tag the version with the outcome."""
        self.enter(phase, why, actor)
        self.update(pauses=frozenset(), outcome=None)
        outcome = {
            "release": self.status.release_id,
            "release.phase": phase.value,
            "release.why": why,
            "lifecycle": LIFECYCLES.get(phase, Lifecycle.ARCHIVED).value,
        }
        self._actions.append(SetTags(key=self.status.candidate.key, tags=outcome))

    # Actions for the flow.

    def ensure(self, pool: PoolName, ref: VersionRef | None = None) -> None:
        """Have the pool hold a version; the candidate by default."""
        self._actions.append(EnsureLoaded(pool=pool.value, ref=ref or self.status.candidate))

    def drop(self, pool: PoolName, digest: str) -> None:
        """Remove a version from the pool."""
        self._actions.append(Drop(pool=pool.value, digest=digest))

    def leave_pools(self) -> None:
        """Remove the candidate from the pools, unless champion, backup or another release needs it there."""
        if self.seen.shared:
            return
        route, candidate = self.seen.route, self.status.candidate.digest
        serving = [target.digest for target in (route.stable, route.backup) if target] if route else []
        if candidate not in serving:
            self.drop(PoolName.CANARY, candidate)
            self.drop(PoolName.STABLE, candidate)

    def route(self, wanted: Route) -> None:
        """Set the live route where it is another; repeated in each pass, so that a lost route comes back."""
        if self.seen.route != wanted:
            self._actions.append(SetRoute(route=wanted))

    def alias(self, alias: str, key: str) -> None:
        """Point an alias of the registry at a version."""
        self._actions.append(SetAlias(alias=alias, key=key))

    def clear_alias(self, alias: str) -> None:
        """Remove an alias from the candidate."""
        self._actions.append(ClearAlias(alias=alias, key=self.status.candidate.key))

    def tag(self, key: str, **tags: str) -> None:
        """Tag a version of the registry."""
        self._actions.append(SetTags(key=key, tags=tags))
