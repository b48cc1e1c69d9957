"""Semantic versions of models: MAJOR new architecture or schema, MINOR retrained, PATCH repackaged."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Self

from pydantic import ConfigDict, Field

from perennial.core.frozen import Frozen


class Change(StrEnum):
    """Reason for a new version of a model."""

    ARCHITECTURE = "architecture"
    RETRAINED = "retrained"
    REPACKAGED = "repackaged"


class SemanticVersion(Frozen):
    """MAJOR.MINOR.PATCH of a model."""

    model_config = ConfigDict(frozen=True)

    major: int = Field(ge=0)
    minor: int = Field(ge=0)
    patch: int = Field(ge=0)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the version of a text `MAJOR.MINOR.PATCH`.

        Raises:
            ValueError: a text of another form.
        """
        match = re.fullmatch(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)", text)
        if match is None:
            raise ValueError(f"not a semantic version: {text!r}")
        return cls(major=int(match[1]), minor=int(match[2]), patch=int(match[3]))

    def bump(self, change: Change) -> SemanticVersion:
        """Return the next version after a change."""
        if change is Change.ARCHITECTURE:
            return SemanticVersion(major=self.major + 1, minor=0, patch=0)
        if change is Change.RETRAINED:
            return SemanticVersion(major=self.major, minor=self.minor + 1, patch=0)
        return SemanticVersion(major=self.major, minor=self.minor, patch=self.patch + 1)

    @property
    def key(self) -> tuple[int, int, int]:
        return (self.major, self.minor, self.patch)

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


def next_version(existing: Iterable[str], change: Change, patch_of: str | None = None) -> SemanticVersion:
    """Return the version after the highest that was ever registered; a rejected number is not used again.

    Args:
        patch_of: version that was repackaged; the result is the next PATCH version of its MAJOR.MINOR.
    """
    known = [SemanticVersion.parse(text) for text in existing]
    if patch_of is not None:
        parent = SemanticVersion.parse(patch_of)
        known = [parent, *(version for version in known if version.key[:2] == parent.key[:2])]
        change = Change.REPACKAGED
    if not known:
        return SemanticVersion(major=1, minor=0, patch=0)
    return max(known, key=lambda version: version.key).bump(change)


class VersionRef(Frozen):
    """Unique reference to a model version."""

    model: str
    version: str = Field(description="semantic version")
    key: str = Field(description="the registry's own integer, as text")
    digest: str = Field(description="SHA-256 of the served model file (hex)")
    capsule: str = Field(description="lineage fingerprint: hash of all inputs of the training")

    def __str__(self) -> str:
        return f"{self.model} {self.version} ({self.digest[:12]})"


class Lifecycle(StrEnum):
    """Lifecycle stage of a version, for people. It follows from alias and release; only RETIRED and ARCHIVED
    may be set by a person (`perennial models retire`, `archive`)."""

    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"
    RETIRED = "retired"
    """Taken out of use by a person; its files stay."""
    ARCHIVED = "archived"
