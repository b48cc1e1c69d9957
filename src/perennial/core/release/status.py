"""A release: the way of one candidate to champion, as values.

`perennial.core.release.decide` holds the rules by which a status follows another.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic import AwareDatetime, Field, model_validator

from perennial.core.frozen import Frozen, canonical
from perennial.core.gate_spec import GateSpec
from perennial.core.release.approval import Approval, progress, required
from perennial.core.release.gate_report import GateReport
from perennial.core.release.phase import Phase
from perennial.core.release.plan import Step, plan
from perennial.core.release.stored_release import lifted
from perennial.core.release.traffic import Assignment, Counters, Route, Target, UserCounts
from perennial.core.spec import ApprovalSpec, ReleaseSpec
from perennial.core.verdict import Judgement
from perennial.core.version import VersionRef


class IntentKind(StrEnum):
    """What a person may ask of a release."""

    APPROVE = "approve"
    REJECT = "reject"
    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    ABORT = "abort"


class Intent(Frozen):
    """What a person asked for; the next pass over the release obeys or refuses it, once."""

    id: str = Field(min_length=1, description="the same id twice is one intent")
    release_id: str
    kind: IntentKind
    actor: str
    at: AwareDatetime
    digest: str = Field(description="the digest that the person saw; another one is refused")
    note: str = ""
    channel: str = Field(description="where it was said: cli, airflow, mlflow, ...")


class Pause(StrEnum):
    """Why a release does not go on by itself. It is still judged: a bad candidate is aborted."""

    PERSON = "a person paused it"
    UNSURE = "not enough evidence in the time given"
    NOT_LOADED = "the servers do not load it in the time given"
    SAMPLE_RATIO = "the users did not get the sides that they were to get"
    CHAMPION_UNHEALTHY = "it must go, but the champion has no healthy server"


class LabelCounts(Frozen):
    """Predictions of one version whose truth is known."""

    right: float = Field(0.0, ge=0, description="sum over requests of the share answered right")
    requests: int = Field(0, ge=0)
    labels: int = Field(0, ge=0)


class ReleaseStatus(Frozen):
    """Everything known of a release. The policy is a copy: a spec edited meanwhile changes nothing."""

    release_id: str
    candidate: VersionRef
    champion: VersionRef | None = Field(description="who had the traffic at the start; None: nobody")
    champion_release_id: str | None
    policy: ReleaseSpec
    approval_policy: ApprovalSpec
    policy_digest: str = Field("", description="of gate, approval and release in the spec at the start")
    spec_digest: str = Field(
        "", description="the same of the spec as it was last seen; differs: edited since"
    )
    servers: int = Field(1, ge=1, description="of the stable pool, when the candidate first got traffic")
    started_at: AwareDatetime

    phase: Phase
    step: int = Field(0, ge=0, description="which step of CANARY by the plan; 0 elsewhere")
    entered_at: AwareDatetime = Field(description="when the phase, or the step of CANARY, began")
    gate: GateReport | None = None
    asked_by: tuple[str, ...] = Field((), description="who started it, who registered the version")
    approvals: tuple[Approval, ...] = Field((), description="that stand; each of another account")
    pauses: frozenset[Pause] = frozenset()
    consumed: tuple[str, ...] = Field((), description="ids of the intents that were obeyed or refused")
    errors_in_a_row: int = Field(0, ge=0)
    last_error_at: AwareDatetime | None = None
    counted: dict[str, Counters] = Field(
        default_factory=dict, description="by pool, what was answered in this step up to the last look"
    )
    baseline: dict[str, Counters] = Field(
        default_factory=dict,
        description="by pool, the router's own counters at the last look; in releases stored without "
        "`counted`, when the step began",
    )
    before: Counters | None = Field(
        None, description="what the champion had answered before a step that leaves it no requests"
    )
    accuracy: dict[str, LabelCounts] = Field(default_factory=dict, description="by digest, in this step")
    accuracy_at: AwareDatetime | None = Field(None, description="when accuracy was measured; costly")
    units: UserCounts | None = Field(
        None, description="users by arm in this step; measured with the accuracy"
    )
    evidence: tuple[Judgement, ...] = Field((), description="of the last pass")
    outcome: Phase | None = Field(None, description="the phase that ABORTING ends in")
    note: str = Field("", description="why it stands here, in words")
    revision: int = Field(0, ge=0, description="counted up by each save")

    @model_validator(mode="before")
    @classmethod
    def _of_any_age(cls, stored: Any) -> Any:
        return lifted(stored) if isinstance(stored, dict) else stored

    @property
    def model(self) -> str:
        return self.candidate.model

    def is_after(self, other: ReleaseStatus) -> bool:
        """Started later; of two at the same instant exactly one is."""
        return (self.started_at, self.release_id) > (other.started_at, other.release_id)

    @property
    def approved(self) -> bool:
        """Gated, and allowed for exactly this digest by as many as its risk asks for."""
        return (
            self.gate is not None
            and self.gate.passed
            and self.gate.digest == self.candidate.digest
            and len(self.approvals) >= max(1, self.approvers_needed)
            and all(one.digest == self.candidate.digest for one in self.approvals)
        )

    @property
    def approvers_needed(self) -> int:
        """People; 0: the policy approves. Not known before the gate has said the risk: 0."""
        return required(self.approval_policy, self.gate.risk) if self.gate is not None else 0

    @property
    def approval_progress(self) -> str:
        """`1 of 2: alice; still needs 1 more, not bob (who asked)`. One is needed where the policy's lapsed."""
        return progress(self.approvals, max(1, self.approvers_needed), self.asked_by)

    @property
    def target(self) -> Target:
        """The candidate, as a route names it."""
        return Target(
            version=self.candidate.version, digest=self.candidate.digest, release_id=self.release_id
        )

    @property
    def assignment(self) -> Assignment:
        """How the users of a split of this release get their sides."""
        sticky = self.policy.sticky
        return Assignment(
            experiment=sticky.experiment or self.release_id,
            header=sticky.header,
            cookie=sticky.cookie,
            cookie_age=sticky.cookie_age,
        )

    @property
    def kept(self) -> VersionRef | None:
        """The champion it took over from, where the policy keeps that one: as backup, and for a rollback."""
        return self.champion if self.policy.keep_previous and self.champion_release_id else None

    @property
    def alone(self) -> Route:
        """All traffic to the candidate, with the kept champion as backup."""
        backup, kept = None, self.kept
        if kept is not None and self.champion_release_id is not None:
            backup = Target(version=kept.version, digest=kept.digest, release_id=self.champion_release_id)
        return Route(model=self.model, stable=self.target, backup=backup)

    def spec_changed(self, now: str | None) -> bool | None:
        """Whether the spec differs from what this release was started under.

        Args:
            now: `policy_digest` of the spec as it is now; None: it could not be read.

        Returns:
            None where that is not known: also of releases stored without a digest.
        """
        return now != self.policy_digest if now and self.policy_digest else None

    @property
    def plan(self) -> tuple[Step, ...]:
        """The steps of this release's strategy, in order."""
        return plan(self.policy, self.servers)

    @property
    def current(self) -> Step | None:
        """The step that the release is in; None outside of SHADOW and CANARY."""
        return next((one for one in self.plan if (one.phase, one.number) == (self.phase, self.step)), None)

    @property
    def following(self) -> Step | None:
        """The step after the current one, or the first; None when the plan ends here."""
        steps, current = self.plan, self.current
        index = 0 if current is None else steps.index(current) + 1
        return steps[index] if index < len(steps) else None

    @property
    def duration(self) -> timedelta | None:
        """How long the phase or step lasts at least; None when only events end it."""
        return self.current.duration if self.current is not None else None

    def time_left(self, now: datetime) -> timedelta | None:
        """Of the phase or step; not below zero."""
        if self.duration is None:
            return None
        return max(timedelta(0), self.entered_at + self.duration - now)


def policy_digest(gate: GateSpec, approval: ApprovalSpec, release: ReleaseSpec) -> str:
    """SHA-256 (hex) of the parts of a spec that a release keeps from its start to its end."""
    return hashlib.sha256(canonical(_policy(gate, approval, release)).encode()).hexdigest()


def _policy(gate: GateSpec, approval: ApprovalSpec, release: ReleaseSpec) -> list[dict[str, Any]]:
    return [one.model_dump(mode="json") for one in (gate, approval, release)]


def release_id(
    digest: str, gate: GateSpec, approval: ApprovalSpec, release: ReleaseSpec, attempt: int = 0
) -> str:
    """The same candidate under the same policy is the same release, however often it is started.

    Args:
        attempt: counts how often a person had it start again after it had ended.
    """
    policy = _policy(gate, approval, release)
    text = canonical({"candidate": digest, "policy": policy, **({"attempt": attempt} if attempt else {})})
    return hashlib.sha256(text.encode()).hexdigest()[:16]
