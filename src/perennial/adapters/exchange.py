"""Files that the two halves of the plant exchange: a folder in object storage, or one of the disk."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from perennial.errors import ToolError
from perennial.object_storage import ObjectFolder

DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class StoredVersion:
    """Files of a version in the exchange."""

    size: int
    """Bytes of all."""
    changed: datetime
    """Time of the newest."""


class Exchange(ObjectFolder):
    """Files of versions are below `versions/<digest>`."""

    def put(self, digest: str, contents: Mapping[str, bytes]) -> None:
        """Store the files of a version, unless they are there with these sizes."""
        folder = self._version(digest)
        with self.files() as files:
            there = _sizes(files, folder)
            for name, content in contents.items():
                if there.get(name) != len(content):
                    files.pipe_file(f"{folder}/{name}", content)

    def fetch(self, digest: str, target: Path) -> None:
        """Write the files of a version into an empty folder. They are not checked here.

        Raises:
            ToolError: they are not there, or the storage does not answer.
        """
        folder = self._version(digest)
        with self.files() as files:
            names = sorted(_sizes(files, folder))
            try:
                for name in names:
                    (target / name).write_bytes(files.cat_file(f"{folder}/{name}"))
            except FileNotFoundError:
                names = []
        if not names:
            raise ToolError(
                f"{folder} has no files", hint="the release uploads them again when it ensures the version"
            )

    def versions(self) -> dict[str, StoredVersion]:
        """Return digest -> what is stored of a version; a folder below `versions/` with another name is not ours."""
        with self.files() as files:
            try:
                entries = files.find(f"{self.address}/versions", detail=True)
            except FileNotFoundError:
                return {}
        stored: dict[str, StoredVersion] = {}
        for path, entry in entries.items():
            digest = path.split("/")[-2]
            if DIGEST.fullmatch(digest):
                before = stored.get(digest, StoredVersion(0, _changed(entry)))
                stored[digest] = StoredVersion(
                    before.size + int(entry["size"]), max(before.changed, _changed(entry))
                )
        return stored

    def remove_version(self, digest: str) -> None:
        """Remove the files of a version; the release that needs it again stores them again."""
        with self.files() as files, suppress(FileNotFoundError):
            files.rm(self._version(digest), recursive=True)

    def read(self, name: str) -> bytes:
        """Return an object.

        Raises:
            ToolError: it is not there, or the storage does not answer.
        """
        content = self.find(name)
        if content is None:
            raise ToolError(f"{self.address}/{name} is gone", hint="does another process receive, too?")
        return content

    def _version(self, digest: str) -> str:
        return f"{self.address}/versions/{digest}"


def _changed(entry: Mapping[str, Any]) -> datetime:
    """Return the time of a file, which S3 and the local disk name differently."""
    changed = entry.get("LastModified")
    return changed if isinstance(changed, datetime) else datetime.fromtimestamp(entry["mtime"], UTC)


def _sizes(files: Any, folder: str) -> dict[str, int]:
    """Return name -> bytes of the files in a folder; empty where there is none."""
    try:
        entries = files.ls(folder, detail=True)
    except FileNotFoundError:
        return {}
    return {Path(entry["name"]).name: int(entry["size"]) for entry in entries if entry["type"] == "file"}
