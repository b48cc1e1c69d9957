"""Tiny versions with complete manifests, and a registry that hands out their files."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

from tiny_models import WIDTH, tiny_version

from perennial.core.training.registration import VersionRecord
from perennial.core.version import VersionRef
from perennial.errors import UnknownVersion

REST = {"target": "failed", "architecture": "sum/1", "framework": "numpy", "parameters": 1, "bytes": 1}


class VersionsWithFiles:
    """A registry and its labels: versions that were added, by number or alias."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, Path] = {}
        self._records: dict[str, VersionRecord] = {}
        self.aliases: dict[str, str] = {}
        self.tags: dict[str, dict[str, str]] = {}

    def add(self, model: str, version: str, bias: float) -> VersionRef:
        """Add a version that answers sigmoid(sum of features + bias)."""
        columns = tuple(f"view:f{number}" for number in range(WIDTH))
        ref, files = tiny_version(self._folder, model, version, bias, "service/1", columns=columns)
        manifest = json.loads((files / "manifest.json").read_text())
        (files / "manifest.json").write_text(json.dumps(manifest | REST))
        self._files[version] = files
        self._records[version] = VersionRecord(
            ref=ref, run_id=version, created=datetime(2026, 1, 1, tzinfo=UTC)
        )
        return ref

    def find(self, model: str, which: str) -> VersionRecord | None:
        return self._records.get(self.aliases.get(which, which))

    def fetch(self, ref: VersionRef, into: Path) -> Path:
        if ref.version not in self._files:
            raise UnknownVersion(f"{ref} was deleted", hint="")
        shutil.copytree(self._files[ref.version], into)
        return into

    def tag(self, model: str, key: str, tags: dict[str, str]) -> None:
        self.tags.setdefault(key, {}).update(tags)
