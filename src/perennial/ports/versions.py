"""Model versions: their names, marks and files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from perennial.core.version import VersionRef

if TYPE_CHECKING:
    from perennial.core.training.registration import NewVersion, VersionRecord


class Registry(Protocol):
    """Model versions, aliases and tags (MLflow)."""

    def register(self, new: NewVersion) -> VersionRef:
        """Register the run's model once; the same run again gives the same version and changes nothing."""

    def find(self, model: str, which: str) -> VersionRecord | None:
        """`which` is a semantic version, an alias, or `key:N`."""

    def versions(self, model: str) -> list[VersionRecord]: ...

    def fetch(self, ref: VersionRef, into: Path) -> Path:
        """Write the files of a version into a folder.

        Raises NotSigned unless they are exactly those that a trusted key signed under the version's digest.
        """


class VersionSearch(Protocol):
    """Versions of any model by what is known of them (MLflow)."""

    def search(self, query: str) -> list[VersionRecord]:
        """Those that meet a query in the registry's own syntax; raises UsageError for one it does not know."""


class Labels(Protocol):
    """Names and marks on versions (MLflow aliases and tags)."""

    def alias(self, model: str, alias: str, key: str | None) -> None:
        """Point the alias at a version; None removes it. Repeating changes nothing."""

    def tag(self, model: str, key: str, tags: Mapping[str, str]) -> None: ...


class ModelFiles(Protocol):
    """The stored files of versions (MLflow's artifact store)."""

    def delete(self, ref: VersionRef) -> None:
        """Delete them; the version's tags and figures stay. Repeating changes nothing."""
