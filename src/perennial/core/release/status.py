"""The status of a release, and what people may ask of it, as values.

`perennial.core.release.decide` holds the rules by which a status follows another.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic import AwareDatetime, Field

from perennial.core.frozen import Frozen, canonical
from perennial.core.gate_spec import GateSpec
from perennial.core.monitoring.label_delay import LabelDelay
from perennial.core.release.approval import Approval, progress, required
from perennial.core.release.counted.dependence import MeasuredDependence, measured_dependence
from perennial.core.release.counted.slices import Slice
from perennial.core.release.counted.user_buckets import LogPosition
from perennial.core.release.gate_report import GateReport
from perennial.core.release.label_counts import EarlierSteps, LabelCounts
from perennial.core.release.phase import Phase
from perennial.core.release.plan import ALL, Step, plan
from perennial.core.release.traffic import Assignment, Counters, LikeRequests, Route, Target, UserCounts
from perennial.core.release_spec import ApprovalSpec, ReleaseSpec
from perennial.core.verdict import Judgement
from perennial.core.version import VersionRef


class IntentKind(StrEnum):
    """Kind of an intent."""

    APPROVE = "approve"
    REJECT = "reject"
    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    ABORT = "abort"


class Intent(Frozen):
    """Request of a person; the next pass over the release applies or refuses it, once."""

    id: str = Field(min_length=1, description="the same id twice is one intent")
    release_id: str
    kind: IntentKind
    actor: str
    at: AwareDatetime
    digest: str = Field(description="digest that the person saw; an intent with another digest is refused")
    note: str = ""
    channel: str = Field(description="how the request came: cli, airflow, mlflow, ...")
    issued_by: str = Field("", description="account that issued the actor's token; empty without a token")


class Pause(StrEnum):
    """Reason for which a release does not go on by itself. It is still judged: a bad candidate is aborted."""

    PERSON = "a person paused it"
    UNSURE = "not enough evidence in the time given"
    NOT_LOADED = "the servers do not load it in the time given"
    SAMPLE_RATIO = "the users were not assigned to the variants as planned"
    CHAMPION_UNHEALTHY = "it must go, but the champion has no healthy server"


class ReleaseStatus(Frozen):
    """Everything known of a release. The policy is a copy: an edit of the spec does not change it."""

    release_id: str
    candidate: VersionRef
    champion: VersionRef | None = Field(
        description="version with the traffic at the start; None: there was none"
    )
    champion_release_id: str | None
    policy: ReleaseSpec
    approval_policy: ApprovalSpec
    policy_digest: str = Field(
        description="SHA-256 of gate, approval and release in the spec at the start (hex)"
    )
    spec_digest: str = Field(
        description="the same of the spec at the last look; another value: the spec was edited"
    )
    servers: int = Field(1, ge=1, description="size of the stable pool when the candidate first got traffic")
    started_at: AwareDatetime

    phase: Phase
    step: int = Field(0, ge=0, description="number of the step of CANARY in the plan; 0 elsewhere")
    entered_at: AwareDatetime = Field(description="begin of the phase, or of the step of CANARY")
    gate: GateReport | None = None
    asked_by: tuple[str, ...] = Field((), description="accounts that started it or registered the version")
    approvals: tuple[Approval, ...] = Field((), description="valid approvals, each of another account")
    pauses: frozenset[Pause] = frozenset()
    consumed: tuple[str, ...] = Field((), description="ids of the intents that were applied or refused")
    errors_in_a_row: int = Field(0, ge=0)
    last_error_at: AwareDatetime | None = None
    counted: dict[str, Counters] = Field(
        default_factory=dict, description="pool -> answers in this step up to the last look"
    )
    baseline: dict[str, Counters] = Field(
        default_factory=dict, description="pool -> the router's own counters at the last look"
    )
    before: Counters | None = Field(
        None, description="the champion's answers before a step that leaves it no requests"
    )
    slices: tuple[Slice, ...] = Field(
        (), exclude_if=lambda slices: not slices, description="the same answers by parts of the step's time"
    )
    slices_before: tuple[Slice, ...] = Field(
        (), exclude_if=lambda slices: not slices, description="those of the step before, with `before`"
    )
    dependence: MeasuredDependence | None = Field(
        None, exclude_if=lambda known: known is None, description="of the champion's errors in the last step"
    )
    accuracy: dict[str, LabelCounts] = Field(default_factory=dict, description="by digest, in this step")
    labelled_steps: EarlierSteps = ()
    accuracy_at: AwareDatetime | None = Field(None, description="time of the last (costly) measurement")
    label_delay: LabelDelay | None = Field(
        None,
        description="age from which a request has its label: of the spec, or as learnt in this step; None: not known",
        exclude_if=lambda delay: delay is None,
    )
    units: UserCounts | None = Field(
        None, description="users by variant in this step; measured with the accuracy"
    )
    users: dict[str, dict[str, Counters]] = Field(
        {},
        exclude_if=lambda users: not users,  # as stored before buckets of users were counted
        description="pool -> bucket of users -> their answers in this step, without requests that were at fault "
        "themselves; empty: not known",
    )
    users_read: dict[str, LogPosition] = Field(
        {},
        exclude_if=lambda read: not read,
        description="machine -> place in its router's log up to which `users` counts",
    )
    users_problems: tuple[str, ...] = Field(
        (), exclude_if=lambda problems: not problems, description="why answers may be missing in `users`"
    )
    suspected_slow: bool = Field(
        False, description="the router's latencies failed in this step: like requests are compared"
    )
    like_requests: LikeRequests | None = Field(
        None, description="latency on like requests in this step; measured with the accuracy"
    )
    evidence: tuple[Judgement, ...] = Field((), description="judgements of the last pass")
    outcome: Phase | None = Field(None, description="phase in which ABORTING ends")
    note: str = Field("", description="reason for the current phase, in words")
    revision: int = Field(0, ge=0, description="number of saves")

    @property
    def model(self) -> str:
        return self.candidate.model

    def is_after(self, other: ReleaseStatus) -> bool:
        """Return whether it started later; ids order releases that started at the same instant."""
        return (self.started_at, self.release_id) > (other.started_at, other.release_id)

    @property
    def specified_delay(self) -> LabelDelay | None:
        """The delay of labels that the spec names; None where it is learnt."""
        delay = self.label_delay
        return delay if delay is not None and not delay.by_truth else None

    @property
    def approved(self) -> bool:
        """True when it passed its gate and enough people approved exactly this digest."""
        return (
            self.gate is not None
            and self.gate.passed
            and self.gate.digest == self.candidate.digest
            and len(self.approvals) >= max(1, self.approvers_needed)
            and all(approval.digest == self.candidate.digest for approval in self.approvals)
        )

    @property
    def approvers_needed(self) -> int:
        """Number of people who must approve; 0: the policy approves, or the gate has not yet set the risk."""
        return required(self.approval_policy, self.gate.risk) if self.gate is not None else 0

    @property
    def approval_progress(self) -> str:
        """Progress in words: `1 of 2: alice; still needs 1 more, not bob (who asked)`.

        A person is needed where the approval of the policy lapsed.
        """
        return progress(self.approvals, max(1, self.approvers_needed), self.asked_by)

    @property
    def dependence_so_far(self) -> MeasuredDependence | None:
        """How far the champion's errors depend on each other in this step; else in the last one that ended."""
        if not self.slices or self.before is not None:
            return self.dependence
        weight = 0.0 if self.current is None else self.current.weight
        measured = measured_dependence(self.slices, self.users, 1.0 - weight / ALL)
        return self.dependence if measured.by_time is None and self.dependence is not None else measured

    @property
    def target(self) -> Target:
        """The candidate as the target of a route."""
        return Target(
            version=self.candidate.version, digest=self.candidate.digest, release_id=self.release_id
        )

    @property
    def assignment(self) -> Assignment:
        """Assignment of users to the variants of a split of this release."""
        sticky = self.policy.sticky
        return Assignment(
            experiment=sticky.experiment or self.release_id,
            header=sticky.header,
            cookie=sticky.cookie,
            cookie_age=sticky.cookie_age,
        )

    @property
    def kept(self) -> VersionRef | None:
        """The previous champion, where the policy keeps it as backup and for a rollback."""
        return self.champion if self.policy.keep_previous and self.champion_release_id else None

    @property
    def alone(self) -> Route:
        """The route with all traffic to the candidate and the kept champion as backup."""
        backup, kept = None, self.kept
        if kept is not None and self.champion_release_id is not None:
            backup = Target(version=kept.version, digest=kept.digest, release_id=self.champion_release_id)
        return Route(model=self.model, stable=self.target, backup=backup)

    def shared(self, route: Route, step: Step) -> Route:
        """Return the route of a step of the plan: the candidate beside champion and backup of a route."""
        return Route(
            model=self.model,
            stable=route.stable,
            canary=self.target,
            canary_weight=step.weight,
            assignment=self.assignment if 0 < step.weight < ALL else None,
            mirror=step.phase is Phase.SHADOW,
            backup=route.backup,
        )

    def spec_changed(self, now: str | None) -> bool | None:
        """Return whether the spec differs from the one at the start; None where that is not known.

        Args:
            now: `policy_digest` of the current spec; None: it could not be read.
        """
        return None if now is None else now != self.policy_digest

    @property
    def plan(self) -> tuple[Step, ...]:
        """Steps of this release's strategy, in order."""
        return plan(self.policy, self.servers)

    @property
    def current(self) -> Step | None:
        """Current step; None outside of SHADOW and CANARY."""
        return next(
            (step for step in self.plan if (step.phase, step.number) == (self.phase, self.step)), None
        )

    @property
    def following(self) -> Step | None:
        """Next step of the plan, or its first; None when the plan ends here."""
        steps, current = self.plan, self.current
        index = 0 if current is None else steps.index(current) + 1
        return steps[index] if index < len(steps) else None

    @property
    def duration(self) -> timedelta | None:
        """Shortest time of the phase or step; None where only events end it."""
        return self.current.duration if self.current is not None else None

    def time_left(self, now: datetime) -> timedelta | None:
        """Return the rest of the phase or step's time, not below zero; None where only events end it."""
        if self.duration is None:
            return None
        return max(timedelta(0), self.entered_at + self.duration - now)


def policy_digest(gate: GateSpec, approval: ApprovalSpec, release: ReleaseSpec) -> str:
    """Return the SHA-256 (hex) of the parts of a spec that a release keeps from its start to its end."""
    return hashlib.sha256(canonical(_policy(gate, approval, release)).encode()).hexdigest()


def _policy(gate: GateSpec, approval: ApprovalSpec, release: ReleaseSpec) -> list[dict[str, Any]]:
    return [part.model_dump(mode="json") for part in (gate, approval, release)]


def release_id(
    digest: str, gate: GateSpec, approval: ApprovalSpec, release: ReleaseSpec, attempt: int = 0
) -> str:
    """Return the id of a release: the same candidate under the same policy is the same release.

    Args:
        attempt: how often a person started it again after its end.
    """
    policy = _policy(gate, approval, release)
    text = canonical({"candidate": digest, "policy": policy, **({"attempt": attempt} if attempt else {})})
    return hashlib.sha256(text.encode()).hexdigest()[:16]
