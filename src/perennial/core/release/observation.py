"""Input and output of the release machine: the observation of a pass, and the actions that follow from it."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, Field

from perennial.core.events import Entry
from perennial.core.frozen import Frozen
from perennial.core.monitoring.label_delay import LabelDelay
from perennial.core.release.counted.user_buckets import UserBuckets
from perennial.core.release.label_counts import LabelCounts, LabelledStep
from perennial.core.release.status import Intent, ReleaseStatus
from perennial.core.release.traffic import Counters, LikeRequests, Readiness, Route, UserCounts
from perennial.core.version import VersionRef


class Observation(Frozen):
    """Measurements of a pass. Those that the phase does not need are left out; failures are in `errors`."""

    route: Route | None = None
    in_canary: Readiness | None = Field(None, description="the candidate in the canary pool")
    in_stable: Readiness | None = Field(None, description="the candidate in the stable pool")
    champion: Readiness | None = Field(None, description="the champion in the stable pool")
    healthy: dict[str, int] = Field(
        default_factory=dict, description="pool -> healthy servers; absent: unknown"
    )
    counters: dict[str, Counters] = Field(default_factory=dict, description="pool -> answers; empty: unknown")
    accuracy: dict[str, LabelCounts] = Field(
        default_factory=dict, description="digest -> labels in this step, as last measured"
    )
    labelled_steps: tuple[LabelledStep, ...] = Field(
        (), description="labels of the earlier steps, measured with the accuracy"
    )
    accuracy_at: AwareDatetime | None = Field(None, description="time of the last measurement of accuracy")
    label_delay: LabelDelay | None = Field(None, description="how late labels come; None: not known")
    units: UserCounts | None = Field(
        None, description="users by variant in this step, measured with the accuracy"
    )
    user_buckets: UserBuckets | None = Field(
        None, description="answers by bucket of users since the last look; None: unknown"
    )
    like_requests: LikeRequests | None = Field(
        None, description="latency on like requests, where the candidate is suspected to be slow"
    )
    tags: dict[str, str] = Field(
        default_factory=dict, description="approval tags of the candidate's version in the registry"
    )
    registry_answered: bool = Field(False, description="then a missing tag was removed")
    seal: str | None = Field(None, description="current seal of the candidate; None: not computed")
    intents: tuple[Intent, ...] = Field((), description="all intents of this release, in order")
    newer: str | None = Field(None, description="id of a later release that passed its gate")
    older_active: bool = Field(False, description="an earlier release still holds traffic")
    shared: bool = Field(False, description="another active release has the same digest")
    outdated: tuple[str, ...] = Field((), description="digests of champions before the previous champion")
    spec_digest: str | None = Field(
        None, description="`status.policy_digest` of the current spec; None: it cannot be read"
    )
    errors: tuple[str, ...] = Field((), description="failed measurements, each with its reason")


class EnsureLoaded(Frozen):
    """Load a version into a pool."""

    kind: Literal["ensure"] = "ensure"
    pool: str
    ref: VersionRef


class Drop(Frozen):
    """Remove a version from a pool."""

    kind: Literal["drop"] = "drop"
    pool: str
    digest: str


class SetRoute(Frozen):
    """Replace the live route."""

    kind: Literal["route"] = "route"
    route: Route


class SetAlias(Frozen):
    """Point an alias of the registry at a version."""

    kind: Literal["alias"] = "alias"
    alias: str
    key: str


class ClearAlias(Frozen):
    """Remove an alias from a version; an alias that points at another version stays."""

    kind: Literal["clear"] = "clear"
    alias: str
    key: str


class SetTags(Frozen):
    """Tag a version of the registry."""

    kind: Literal["tags"] = "tags"
    key: str
    tags: dict[str, str]


Action = EnsureLoaded | Drop | SetRoute | SetAlias | ClearAlias | SetTags
"""Action of a pass; repeating it does no harm."""


class TransitionResult(Frozen):
    """Result of a pass: apply the actions in order, then save status and entries in one transaction."""

    status: ReleaseStatus
    actions: tuple[Action, ...] = ()
    entries: tuple[Entry, ...] = ()
