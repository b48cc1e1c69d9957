"""Input of a registration, and the registry's record of a version."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from perennial.core.frozen import Frozen
from perennial.core.version import Change, VersionRef

REQUESTED_BY = "requested_by"
"""Version tag: the account that registered it."""
CHAMPION_DIGEST, NO_CHAMPION = "champion.digest", "none"
"""Version tag: digest of the champion in its evaluation, or `none` without a champion."""


class NewVersion(Frozen):
    """A trained, exported and evaluated model to register."""

    model: str
    run_id: str
    model_uri: str = Field(description="address of the logged model in the registry")
    digest: str
    capsule: str
    change: Change
    patch_of: str | None = Field(None, description="semantic version that this one repackages")
    candidate: bool = Field(True, description="the alias `candidate` moves to the version")
    description: str
    tags: dict[str, str] = Field(default_factory=dict)


class VersionRecord(Frozen):
    """A version as the registry stores it."""

    ref: VersionRef
    run_id: str
    created: datetime
    aliases: tuple[str, ...] = ()
    tags: dict[str, str] = Field(default_factory=dict)
    metrics: dict[str, float] = Field(default_factory=dict, description="holdout metrics of the run")
