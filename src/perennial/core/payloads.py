"""Typed readers of ledger payloads, one per family of events. Writers keep the stored keys."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from perennial.core.assets import Reason
from perennial.core.events import Payload
from perennial.core.verdict import Judgement


class VersionFact(Payload):
    """Keys that an entry about a version may have: release steps, lifecycle changes, reproductions."""

    version: str | None = None
    why: str | None = None
    note: str | None = None
    weight: float | None = Field(None, description="percent of the requests that the candidate gets")
    verdict: str | None = None
    channel: str | None = None
    evidence: tuple[Judgement, ...] = ()

    @property
    def reason(self) -> str:
        """The entry's reason in words; empty where it gives none."""
        return self.why or self.note or ""


class ReleaseOpened(Payload):
    """Payload of RELEASE_OPENED."""

    version: str
    capsule: str | None = None
    champion: str | None = None
    spec: str | None = None


class GateFact(Payload):
    """Payload of RELEASE_GATED."""

    verdict: str | None = None
    risk: str | None = None
    risk_reasons: tuple[str, ...] = ()
    rules: tuple[Judgement, ...] = ()


class ApprovalEnded(Payload):
    """Payload of RELEASE_APPROVAL_LAPSED and RELEASE_APPROVAL_WITHDRAWN."""

    of: str | None = Field(None, description="account whose approval it was; None: the actor's own")


class TrafficMove(Payload):
    """Payload of EMERGENCY_ROLLBACK and SHARE_WITHDRAWN."""

    id: str | None = None
    left: str | None = Field(None, alias="from", description="version that lost traffic")
    to: str | None = Field(None, description="version that serves afterwards")
    note: str | None = None


class RouteDifferences(Payload):
    """Payload of ROUTE_CHANGED_OUTSIDE."""

    differences: tuple[str, ...] = ()


class LevelChange(Payload):
    """Payload of MONITOR_LEVEL."""

    to: str | None = None
    reasons: tuple[str, ...] = ()
    psi: dict[str, tuple[float, float]] = Field(
        default_factory=dict, description="feature column: PSI, allowance"
    )


class RetrainRequest(Payload):
    """Payload of RETRAIN_REQUESTED."""

    reason: Reason
    text: str = ""
    key: str | None = None
    window: str | None = Field(None, description="key of the window of predictions that alarmed")
    moved: tuple[str, ...] = Field((), description="features that moved far enough for an alarm")
    likely: str = Field("", description="gain that the back-test says is likely, in words")


class FailoverFact(Payload):
    """Payload of FAILOVER_BEGAN and FAILOVER_ENDED."""

    backup: str = ""
    champion: str = ""
    answered: int = Field(description="requests that the backup answered in place of the champion")
    counted: int = Field(description="the router's counter of the backup at that time")


class TokenFact(Payload):
    """Payload of TOKEN_ISSUED and TOKEN_REVOKED."""

    id: str


class ShadowResult(Payload):
    """Payload of the entry that ends SHADOW."""

    shadow: dict[str, Any] | None = Field(None, description="a disagreement of answers, or an error")
