"""Upload of sealed segments to object storage, under the same names, and removal of what is kept there only."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from filelock import FileLock

from perennial.errors import ChecksumMismatch, ToolError, UsageError
from perennial.files import sha256
from perennial.object_storage import storage
from perennial.serving.log import sealed
from perennial.serving.log.hours import of_ended_days
from perennial.serving.log.uploaded import Index, UploadedSegment, read_index, write_index

HASH = "sha256"
"""Key of an object's metadata."""
BLOCK = 1 << 20


@dataclass(frozen=True)
class UploadCounts:
    """Counts of a pass."""

    uploaded: int
    uploaded_bytes: int
    removed_here: int
    """Local files that object storage was read to have."""
    pruned: int
    """Objects whose retention time is over, or that a merged segment replaces."""
    elsewhere: int
    """Segments that are in object storage only."""


class SegmentUpload:
    """Uploads the segments of a model. A pass can be killed and repeated at any time.

    A local file is removed only after its object was read back with the same SHA-256 and the index names it; an object
    is removed only after the index no longer names it.

    Args:
        folder: of the prediction log.
        bucket: s3://bucket/folder.
        local_days: days that uploaded segments stay here, too; None: all of them stay.
    """

    def __init__(self, folder: Path, bucket: str, local_days: int | None) -> None:
        self._folder, self._bucket, self._local_days = folder, bucket, local_days

    def run(self, model: str, now: datetime, keep: timedelta | None) -> UploadCounts:
        """Upload the segments of ended days.

        Args:
            keep: least time that predictions are kept, in object storage as well; None: for ever.

        Raises:
            UsageError: segments lie in another bucket. ToolError: the storage does not answer, or has no bucket.
            ChecksumMismatch: an object has other bytes than were sent.
        """
        folder = self._folder / model
        if not folder.is_dir():
            return UploadCounts(0, 0, 0, 0, 0)
        with FileLock(folder / ".tidy.lock"), storage(self._bucket) as files:
            try:
                return self._run(files, model, now, keep)
            except FileNotFoundError as error:
                raise ToolError(f"{self._bucket}: {error}", hint="does the bucket exist?") from error

    def _run(self, files: Any, model: str, now: datetime, keep: timedelta | None) -> UploadCounts:
        index = read_index(self._folder, model)
        if index.segments and index.bucket != self._bucket:
            raise UsageError(
                f"segments of {model} lie in {index.bucket}, not in {self._bucket}",
                hint=f"copy them with their metadata, and correct `bucket` in {self._folder / model}/uploaded.json",
            )
        there = self._objects(files, model)
        known = {segment.key(model): segment for segment in index.segments}
        paths, replaced = sealed.segments(self._folder, model)
        sent, here = [], {}
        ended = of_ended_days(self._folder / model, paths, now)
        for path in (path for of_day in ended.values() for path in of_day):
            segment = _segment(path)
            key = here[path] = segment.key(model)
            known[key] = segment
            if not self._has(files, segment, key, there):
                files.put_file(str(path), f"{self._bucket}/{key}", Metadata={HASH: segment.sha256})
                sent.append(segment.size)
        local = {str(path.relative_to(self._folder)) for path in paths}
        elsewhere = [
            known.get(key) or self._found(files, key, size)
            for key, size in there.items()
            if key not in local and Path(key).stem not in replaced
        ]
        oldest = None if keep is None else (now - keep).date()
        kept = [segment for segment in elsewhere if oldest is None or segment.day >= oldest]
        gone = {key for key in there if key not in local} - {segment.key(model) for segment in kept}
        write_index(self._folder, model, Index(bucket=self._bucket, segments=_ordered(kept)))
        for key in sorted(gone):
            files.rm_file(f"{self._bucket}/{key}")
        removed = self._remove_here(files, model, here, known, kept, now)
        return UploadCounts(len(sent), sum(sent), removed, len(gone), len(kept))

    def _remove_here(
        self,
        files: Any,
        model: str,
        here: Mapping[Path, str],
        known: Mapping[str, UploadedSegment],
        kept: list[UploadedSegment],
        now: datetime,
    ) -> int:
        """Remove local files of earlier days than are kept here; `kept` grows by their segments."""
        if self._local_days is None:
            return 0
        first = (now - timedelta(days=self._local_days)).date()
        removed = 0
        for path, key in here.items():
            segment = known[key]
            if segment.day >= first:
                continue
            with files.open(f"{self._bucket}/{key}", "rb") as file:
                digest = hashlib.sha256()
                while block := file.read(BLOCK):
                    digest.update(block)
            if digest.hexdigest() != segment.sha256:
                raise ChecksumMismatch(
                    f"{self._bucket}/{key} has other bytes than {path}",
                    hint="remove the object: it is sent again",
                )
            kept.append(segment)
            write_index(self._folder, model, Index(bucket=self._bucket, segments=_ordered(kept)))
            path.unlink()
            removed += 1
        return removed

    def _objects(self, files: Any, model: str) -> dict[str, int]:
        """Return key -> bytes of the segments in object storage."""
        root = self._bucket.removeprefix("s3://")
        listed = files.find(f"{root}/{model}", detail=True)
        return {
            name.removeprefix(f"{root}/"): int(entry["size"])
            for name, entry in sorted(listed.items())
            if name.endswith(".parquet") and sealed.day_of(Path(name)) is not None
        }

    def _has(self, files: Any, segment: UploadedSegment, key: str, there: Mapping[str, int]) -> bool:
        same_size = there.get(key) == segment.size
        return same_size and files.metadata(f"{self._bucket}/{key}").get(HASH) == segment.sha256

    def _found(self, files: Any, key: str, size: int) -> UploadedSegment:
        """Return an object that the index does not name: the state folder is another one, or the index was removed."""
        digest = files.metadata(f"{self._bucket}/{key}").get(HASH)
        day = sealed.day_of(Path(key))
        if digest is None or day is None:
            raise ToolError(
                f"{self._bucket}/{key} has no {HASH} in its metadata",
                hint="it is no segment of this log: move it away",
            )
        return UploadedSegment(day=day, name=Path(key).stem, size=size, sha256=digest)


def _segment(path: Path) -> UploadedSegment:
    day = sealed.day_of(path)
    assert day is not None  # noqa: S101 `_ended` chose it by its day
    return UploadedSegment(day=day, name=path.stem, size=path.stat().st_size, sha256=sha256(path))


def _ordered(segments: list[UploadedSegment]) -> tuple[UploadedSegment, ...]:
    return tuple(sorted(segments, key=lambda segment: (segment.day, segment.name)))
