"""What a pass over a release sees, and what it may do about it: plain values between flow and policy."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, Field

from perennial.core.events import Entry
from perennial.core.frozen import Frozen
from perennial.core.release.status import Intent, LabelCounts, ReleaseStatus
from perennial.core.release.traffic import Counters, Readiness, Route, UserCounts
from perennial.core.version import VersionRef


class Observation(Frozen):
    """Measured in one pass. What the phase has no use for is left out; what failed is in `errors`."""

    route: Route | None = None
    in_canary: Readiness | None = Field(None, description="the candidate in the canary pool")
    in_stable: Readiness | None = Field(None, description="the same in the stable pool")
    healthy: dict[str, int] = Field(default_factory=dict, description="servers by pool; absent: unknown")
    counters: dict[str, Counters] = Field(default_factory=dict, description="by pool; empty: unknown")
    accuracy: dict[str, LabelCounts] = Field(
        default_factory=dict, description="by digest, in this step; as last measured"
    )
    accuracy_at: AwareDatetime | None = Field(None, description="when accuracy was measured")
    units: UserCounts | None = Field(
        None, description="users by arm in this step, measured with the accuracy"
    )
    tags: dict[str, str] = Field(
        default_factory=dict, description="about the approval, of the candidate's version in the registry"
    )
    registry_answered: bool = Field(False, description="so that a tag that is not there is gone")
    seal: str | None = Field(None, description="of the candidate as it is now; None: not looked at")
    intents: tuple[Intent, ...] = Field((), description="all that were ever put, in order")
    newer: str | None = Field(None, description="id of a release that started later and passed its gate")
    older_active: bool = Field(False, description="an earlier release has not let go of the traffic yet")
    shared: bool = Field(False, description="another active release has the same digest")
    outdated: tuple[str, ...] = Field((), description="digests of champions before the last one")
    spec_digest: str | None = Field(
        None, description="of gate, approval and release as the spec has them now; None: cannot be read"
    )
    errors: tuple[str, ...] = Field((), description="what could not be measured, and why")


class EnsureLoaded(Frozen):
    kind: Literal["ensure"] = "ensure"
    pool: str
    ref: VersionRef


class Drop(Frozen):
    kind: Literal["drop"] = "drop"
    pool: str
    digest: str


class SetRoute(Frozen):
    kind: Literal["route"] = "route"
    route: Route


class SetAlias(Frozen):
    kind: Literal["alias"] = "alias"
    alias: str
    key: str


class ClearAlias(Frozen):
    """Take the alias away from this version; where it points at another one it stays."""

    kind: Literal["clear"] = "clear"
    alias: str
    key: str


class SetTags(Frozen):
    kind: Literal["tags"] = "tags"
    key: str
    tags: dict[str, str]


Action = EnsureLoaded | Drop | SetRoute | SetAlias | ClearAlias | SetTags
"""Each may be repeated without harm."""


class TransitionResult(Frozen):
    """Apply the actions in order, then save status and entries in one transaction."""

    status: ReleaseStatus
    actions: tuple[Action, ...] = ()
    entries: tuple[Entry, ...] = ()
