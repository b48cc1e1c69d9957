"""A release: the way of one candidate to champion, as values.

`perennial.core.decide` holds the rules by which a status follows another.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import AwareDatetime, Field

from perennial.core.approval import Approval
from perennial.core.gate_report import GateReport
from perennial.core.ledger import canonical
from perennial.core.spec import ApprovalSpec, Frozen, GateSpec, ReleaseSpec
from perennial.core.traffic import Counters, Target
from perennial.core.verdict import Judgement
from perennial.core.version import VersionRef


class Phase(StrEnum):
    """Where a release stands. A pause is no phase: it is a set of reasons beside it."""

    PENDING = "PENDING"
    """Known, not yet gated."""
    GATED = "GATED"
    AWAITING_APPROVAL = "AWAITING_APPROVAL"
    LOADING = "LOADING"
    """Approved; the canary pool loads it."""
    SHADOW = "SHADOW"
    """Gets copies of the requests; its answers are dropped."""
    CANARY = "CANARY"
    """Answers a share of the requests."""
    PROMOTING = "PROMOTING"
    """The stable pool loads it, then it gets everything."""
    SUCCEEDED = "SUCCEEDED"
    ABORTING = "ABORTING"
    """Loses its traffic, then its place in the pools."""
    ROLLED_BACK = "ROLLED_BACK"
    REJECTED = "REJECTED"
    SUPERSEDED = "SUPERSEDED"

    def is_final(self) -> bool:
        return self in (Phase.SUCCEEDED, Phase.ROLLED_BACK, Phase.REJECTED, Phase.SUPERSEDED)

    def is_before_traffic(self) -> bool:
        """No request, and no copy of one, has reached the candidate yet."""
        return self in (Phase.PENDING, Phase.GATED, Phase.AWAITING_APPROVAL, Phase.LOADING)

    def is_measured(self) -> bool:
        """The candidate is judged by the traffic that it gets."""
        return self in (Phase.SHADOW, Phase.CANARY)


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
    CHAMPION_UNHEALTHY = "it must go, but the champion has no healthy server"


class Labelled(Frozen):
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
    started_at: AwareDatetime

    phase: Phase
    step: int = Field(0, ge=0, description="index of policy.steps; counts in CANARY only")
    entered_at: AwareDatetime = Field(description="when the phase, or the step of CANARY, began")
    gate: GateReport | None = None
    approval: Approval | None = None
    pauses: frozenset[Pause] = frozenset()
    consumed: tuple[str, ...] = Field((), description="ids of the intents that were obeyed or refused")
    errors_in_a_row: int = Field(0, ge=0)
    last_error_at: AwareDatetime | None = None
    baseline: dict[str, Counters] = Field(
        default_factory=dict, description="by pool, what was counted when the step began"
    )
    accuracy: dict[str, Labelled] = Field(default_factory=dict, description="by digest, in this step")
    accuracy_at: AwareDatetime | None = Field(None, description="when accuracy was measured; costly")
    evidence: tuple[Judgement, ...] = Field((), description="of the last pass")
    outcome: Phase | None = Field(None, description="the phase that ABORTING ends in")
    note: str = Field("", description="why it stands here, in words")
    revision: int = Field(0, ge=0, description="counted up by each save")

    @property
    def model(self) -> str:
        return self.candidate.model

    def is_after(self, other: ReleaseStatus) -> bool:
        """Started later; of two at the same instant exactly one is."""
        return (self.started_at, self.release_id) > (other.started_at, other.release_id)

    @property
    def approved(self) -> bool:
        """Gated, and allowed for exactly this digest."""
        return (
            self.gate is not None
            and self.gate.passed
            and self.gate.digest == self.candidate.digest
            and self.approval is not None
            and self.approval.digest == self.candidate.digest
        )

    @property
    def target(self) -> Target:
        """The candidate, as a route names it."""
        return Target(
            version=self.candidate.version, digest=self.candidate.digest, release_id=self.release_id
        )

    @property
    def duration(self) -> timedelta | None:
        """How long the phase or step lasts at least; None when only events end it."""
        if self.phase is Phase.SHADOW:
            return self.policy.shadow
        if self.phase is Phase.CANARY:
            return self.policy.steps[self.step].duration
        return None

    def time_left(self, now: datetime) -> timedelta | None:
        """Of the phase or step; not below zero."""
        if self.duration is None:
            return None
        return max(timedelta(0), self.entered_at + self.duration - now)


def release_id(
    digest: str, gate: GateSpec, approval: ApprovalSpec, release: ReleaseSpec, attempt: int = 0
) -> str:
    """The same candidate under the same policy is the same release, however often it is started.

    Args:
        attempt: counts how often a person had it start again after it had ended.
    """
    policy = [one.model_dump(mode="json") for one in (gate, approval, release)]
    text = canonical({"candidate": digest, "policy": policy, **({"attempt": attempt} if attempt else {})})
    return hashlib.sha256(text.encode()).hexdigest()[:16]
