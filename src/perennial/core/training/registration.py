"""What a registration needs, and what the registry knows of a version."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from perennial.core.frozen import Frozen
from perennial.core.version import Change, VersionRef

REQUESTED_BY = "requested_by"
"""Tag of a version: the account that had it registered."""
CHAMPION_DIGEST, NO_CHAMPION = "champion.digest", "none"
"""Tag of a version: the digest of the champion that its evaluation compared it with, or that there was none."""


class NewVersion(Frozen):
    """A trained, exported and evaluated model that asks for a version."""

    model: str
    run_id: str
    model_uri: str = Field(description="the registry's address of the logged model")
    digest: str
    capsule: str
    change: Change
    description: str
    tags: dict[str, str] = Field(default_factory=dict)


class VersionRecord(Frozen):
    """One version as the registry shows it."""

    ref: VersionRef
    run_id: str
    created: datetime
    aliases: tuple[str, ...] = ()
    tags: dict[str, str] = Field(default_factory=dict)
    metrics: dict[str, float] = Field(default_factory=dict, description="holdout metrics of the run")
