"""Ports of model versions: registry, labels and files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from perennial.core.version import VersionRef

if TYPE_CHECKING:
    from perennial.core.training.registration import NewVersion, VersionRecord


class Registry(Protocol):
    """Model versions, aliases and tags (MLflow)."""

    def register(self, new: NewVersion) -> VersionRef:
        """Register the model of a run; a repetition for the same run returns the same version."""

    def find(self, model: str, which: str) -> VersionRecord | None:
        """Return the version with a semantic version, an alias or `key:N`; None if there is none.

        Raises:
            UnknownVersion: an alias or a key names a version that no registration has made (by hand, in MLflow).
        """

    def versions(self, model: str) -> list[VersionRecord]: ...

    def fetch(self, ref: VersionRef, into: Path) -> Path:
        """Write the files of a version into a folder; return it.

        Raises NotSigned unless they are exactly those that a trusted key signed under the version's digest.
        """


class VersionSearch(Protocol):
    """Search over the versions of all models (MLflow)."""

    def search(self, query: str) -> list[VersionRecord]:
        """Return the matches of a query in the syntax of the registry; raises UsageError for a wrong query."""

    def aliased(
        self, models: Collection[str], aliases: Collection[str]
    ) -> Mapping[str, Mapping[str, VersionRecord | None]]:
        """Return model -> alias -> version; None where no registration has made that version.

        The number of questions to the registry does not grow with the number of models.
        """

    def by_hand(self, model: str) -> list[str]:
        """Return the keys of the versions of a model that no registration has made, in order."""


class Labels(Protocol):
    """Aliases and tags of versions (MLflow)."""

    def alias(self, model: str, alias: str, key: str | None) -> None:
        """Point the alias at a version; None removes it. Repeating changes nothing."""

    def tag(self, model: str, key: str, tags: Mapping[str, str]) -> None:
        """Set tags of a version. Repeating changes nothing."""


class ModelFiles(Protocol):
    """Stored files of versions (artifact store of MLflow)."""

    def delete(self, ref: VersionRef) -> None:
        """Delete the files of a version; its tags and figures stay. Repeating changes nothing."""


class BentoBuilder(Protocol):
    """Bentos: folders of a model server with its versions and libraries (BentoML)."""

    def build(
        self, versions: Sequence[VersionRef], fetch: Callable[[VersionRef, Path], object]
    ) -> tuple[str, Path]:
        """Build a bento that serves the versions; returns its tag and its folder.

        Args:
            fetch: writes the verified files of a version into an empty folder.
        """
