"""Upload of sealed segments to object storage, under the same names, and removal of what is kept there only."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import ValidationError

from perennial.encryption.keyring import Keyring
from perennial.encryption.stream import plain_size
from perennial.errors import ChecksumMismatch, SettingsError, ToolError, UsageError
from perennial.files import sha256
from perennial.object_storage import storage
from perennial.serving.log import sealed
from perennial.serving.log.encrypted import encrypt_file
from perennial.serving.log.hours import of_ended_days
from perennial.serving.log.uploaded import (
    ENDING,
    HASH,
    Index,
    RemoteSegment,
    UploadedSegment,
    read_index,
    write_index,
)

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
        keyring: keys that encrypt the objects; None: they are not encrypted.
    """

    def __init__(
        self, folder: Path, bucket: str, local_days: int | None, keyring: Keyring | None = None
    ) -> None:
        self._folder, self._bucket, self._local_days = folder, bucket, local_days
        self._keyring = keyring

    def run(self, model: str, now: datetime, keep: timedelta | None) -> UploadCounts:
        """Upload the segments of ended days.

        Args:
            keep: least time that predictions are kept, in object storage as well; None: for ever.

        Raises:
            UsageError: segments lie in another bucket. ToolError: the storage does not answer, or has no bucket.
            ChecksumMismatch: an object has other bytes than were sent.
            SettingsError: objects are encrypted, and there are no keys to go on so.
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
        if self._keyring is None and any(key.endswith(ENDING) for key in there or self._objects(files)):
            raise SettingsError(
                f"the log in {self._bucket} is encrypted, and PERENNIAL_ENCRYPTION_KEYS is not set",
                hint="set it: nothing goes there unencrypted any more",
            )
        known = {segment.key(model): segment for segment in index.segments}
        paths, replaced = sealed.segments(self._folder, model)
        sent, here = [], {}
        ended = of_ended_days(self._folder / model, paths, now)
        for path in (path for of_day in ended.values() for path in of_day):
            segment = _segment(path, encrypted=self._keyring is not None)
            key = here[path] = segment.key(model)
            known[key] = segment
            if not self._has(files, segment, key, there):
                self._send(files, path, segment, model)
                sent.append(segment.size)
        local = {str(path.relative_to(self._folder)) for path in paths}
        elsewhere = [
            known.get(key) or self._found(files, key, size)
            for key, size in there.items()
            if _path(key) not in local
            and Path(_path(key)).stem not in replaced
            and f"{key}{ENDING}" not in there  # a rotation was killed before it removed this one
        ]
        oldest = None if keep is None else (now - keep).date()
        kept = [segment for segment in elsewhere if oldest is None or segment.day >= oldest]
        gone = {key for key in there if _path(key) not in local} - {segment.key(model) for segment in kept}
        gone |= {_path(key) for key in here.values() if key.endswith(ENDING)} & there.keys()
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
            digest = hashlib.sha256()
            with RemoteSegment(self._folder, model, self._bucket, segment, self._keyring).open() as file:
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

    def _objects(self, files: Any, model: str = "") -> dict[str, int]:
        """Return key -> bytes of the segments in object storage, of a model or of all."""
        root = self._bucket.removeprefix("s3://")
        listed = files.find(f"{root}/{model}".rstrip("/"), detail=True)
        return {
            name.removeprefix(f"{root}/"): int(entry["size"])
            for name, entry in sorted(listed.items())
            if _path(name).endswith(".parquet") and sealed.day_of(Path(name)) is not None
        }

    def _has(self, files: Any, segment: UploadedSegment, key: str, there: Mapping[str, int]) -> bool:
        same_size = there.get(key) == segment.stored_size
        return same_size and files.metadata(f"{self._bucket}/{key}").get(HASH) == segment.sha256

    def _found(self, files: Any, key: str, size: int) -> UploadedSegment:
        """Return an object that the index does not name: the state folder is another one, or the index was removed."""
        encrypted = key.endswith(ENDING)
        try:
            return UploadedSegment.model_validate({
                "day": sealed.day_of(Path(key)), "name": Path(_path(key)).stem, "encrypted": encrypted,
                "size": plain_size(size) if encrypted else size,
                "sha256": files.metadata(f"{self._bucket}/{key}").get(HASH),
            })  # fmt: skip
        except ValidationError as error:
            raise ToolError(
                f"{self._bucket}/{key}: no name, size or {HASH} (in its metadata) of a segment",
                hint="it is no segment of this log: move it away",
            ) from error

    def _send(self, files: Any, path: Path, segment: UploadedSegment, model: str) -> None:
        address, metadata = f"{self._bucket}/{segment.key(model)}", {HASH: segment.sha256}
        if self._keyring is None:
            files.put_file(str(path), address, Metadata=metadata)
            return
        temporary = path.with_suffix(f"{ENDING}.partial")  # the archive deletes it where this pass is killed
        try:
            encrypt_file(path, segment.path(model), temporary, self._keyring)
            files.put_file(str(temporary), address, Metadata=metadata)
        finally:
            temporary.unlink(missing_ok=True)


def _path(key: str) -> str:
    """Return the path of the segment that an object holds."""
    return key.removesuffix(ENDING)


def _segment(path: Path, *, encrypted: bool) -> UploadedSegment:
    day = sealed.day_of(path)
    assert day is not None  # noqa: S101 `_ended` chose it by its day
    return UploadedSegment(
        day=day, name=path.stem, size=path.stat().st_size, sha256=sha256(path), encrypted=encrypted
    )


def _ordered(segments: list[UploadedSegment]) -> tuple[UploadedSegment, ...]:
    return tuple(sorted(segments, key=lambda segment: (segment.day, segment.name)))
