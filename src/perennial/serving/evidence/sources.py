"""The file of feedback sources: hashes of their keys, readable by its owner only."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from filelock import FileLock
from pydantic import TypeAdapter, ValidationError

from perennial.core.governance import feedback_sources
from perennial.core.governance.feedback_sources import FeedbackSource
from perennial.errors import NotSignedIn, SettingsError
from perennial.files import PRIVATE, write_text

SOURCES = TypeAdapter(dict[str, FeedbackSource])
HINT = (
    "perennial feedback source add NAME prints the key of a new source; send it as x-perennial-feedback-key"
)
NONE: Mapping[str, FeedbackSource] = MappingProxyType({})


class FeedbackSources:
    """The sources of an installation; a change of the file counts at the next call."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._sources = NONE

    def all(self) -> Mapping[str, FeedbackSource]:
        """Return the sources by name.

        Raises:
            SettingsError: the file is damaged, or others than its owner may read or change it.
        """
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            return NONE
        stamp = (status.st_ino, status.st_mtime_ns, status.st_mode)
        if stamp != self._seen:
            if status.st_mode & 0o077:
                raise SettingsError(
                    f"{self._path} is accessible to others", hint=f"chmod 600 {self._path}; renew the keys"
                )
            try:
                self._sources = SOURCES.validate_json(self._path.read_bytes())
            except (OSError, ValidationError) as error:
                raise SettingsError(
                    f"{self._path} is no file of feedback sources: {error}",
                    hint="restore it, or add the sources again",
                ) from error
            self._seen = stamp
        return self._sources

    def source(self, key: str) -> FeedbackSource:
        """Return the source that a key belongs to.

        Raises:
            NotSignedIn: there is no key, or it belongs to no source.
        """
        source = self.all().get(feedback_sources.name_in(key))
        if source is None or not feedback_sources.opens(key, source):
            raise NotSignedIn("feedback without the key of a known source", hint=HINT)
        return source

    def put(self, source: FeedbackSource) -> None:
        """Add a source, or replace it: its earlier key ends."""
        with self._locked():
            self._write({**self.all(), source.name: source})

    def remove(self, name: str) -> FeedbackSource | None:
        """Remove a source and return it; None if there is none of this name."""
        with self._locked():
            sources = dict(self.all())
            source = sources.pop(name, None)
            if source is not None:
                self._write(sources)
        return source

    def _locked(self) -> FileLock:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(f"{self._path}.lock", timeout=10, mode=PRIVATE)

    def _write(self, sources: Mapping[str, FeedbackSource]) -> None:
        content = {name: source.model_dump(mode="json") for name, source in sorted(sources.items())}
        write_text(self._path, json.dumps(content, indent=2) + "\n", PRIVATE)
