"""Segments in object storage that are encrypted by PERENNIAL_ENCRYPTION_KEYS, and the rotation of these keys."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from perennial.encryption import header, stream
from perennial.encryption.keyring import Keyring
from perennial.errors import ChecksumMismatch, ToolError
from perennial.object_storage import S3, storage
from perennial.serving.log import sealed
from perennial.serving.log.uploaded import ENDING, HASH, Index, read_index, write_index

TEMPORARY = ".rotating.partial"
"""An encrypted object on its way. It is never the segment itself."""


def encrypt_file(path: Path, name: str, target: Path, keyring: Keyring) -> str:
    """Write the encrypted file of a segment; return the SHA-256 of the segment."""
    with path.open("rb") as source, target.open("wb") as file:
        return stream.encrypt(source, file, name, keyring)[1]


@dataclass
class Rotation:
    """Counts of objects."""

    current: int = 0
    """Encrypted by the first key already."""
    rewrapped: int = 0
    """Whose data key is encrypted by the first key now."""
    encrypted: int = 0
    """That were not encrypted before."""


class LogRotation:
    """Brings all uploaded segments to the first key of the ring. Can be killed and repeated at any time.

    Args:
        folder: of the prediction log.
        bucket: s3://bucket/folder.
    """

    def __init__(self, folder: Path, bucket: str, keyring: Keyring) -> None:
        self._folder, self._bucket, self._keyring = folder, bucket, keyring

    def key_ids(self) -> dict[str, int]:
        """Return the number of objects by the id of the key that opens them; empty id: not encrypted."""
        counts: dict[str, int] = {}
        with storage(self._bucket) as files:
            for key in _objects(files, self._bucket):
                ids = [""]
                if key.endswith(ENDING):
                    ids = header.key_ids(self._head(files, key), key.removesuffix(ENDING))
                for key_id in ids:
                    counts[key_id] = counts.get(key_id, 0) + 1
        return counts

    def run(self) -> Rotation:
        """Rotate the objects of every model.

        Raises:
            KeyMissing, DecryptionFailed: an object does not open; those before it are rotated.
            ToolError: the storage does not answer.
        """
        done = Rotation()
        with storage(self._bucket) as files:
            models = sorted({key.split("/")[0] for key in _objects(files, self._bucket)})
        for model in models:
            (self._folder / model).mkdir(parents=True, exist_ok=True)
            with FileLock(self._folder / model / ".tidy.lock"), storage(self._bucket) as files:
                keys = [key for key in _objects(files, self._bucket) if key.split("/")[0] == model]
                for key in keys:
                    if key.endswith(ENDING):
                        self._rewrap(files, key, done)
                    else:
                        self._encrypt(files, model, key, f"{key}{ENDING}" in keys)
                        done.encrypted += 1
            (self._folder / model / TEMPORARY).unlink(missing_ok=True)
        return done

    def _rewrap(self, files: Any, key: str, done: Rotation) -> None:
        name, address = key.removesuffix(ENDING), f"{self._bucket}/{key}"
        if header.rotated(self._head(files, key), name, self._keyring) is None:
            done.current += 1
            return
        temporary = self._folder / key.split("/")[0] / TEMPORARY
        files.get_file(address, str(temporary))
        with temporary.open("rb") as file:  # the copy replaces the only one: each byte of it is authenticated
            digest = hashlib.file_digest(stream.decrypted(file, name, self._keyring), "sha256").hexdigest()
        header.rotate(temporary, name, self._keyring)
        files.put_file(str(temporary), address, Metadata={HASH: digest})
        done.rewrapped += 1

    def _encrypt(self, files: Any, model: str, key: str, is_there: bool) -> None:
        """Replace an object that is not encrypted: its encrypted one first, then the index, then the removal."""
        address, temporary = f"{self._bucket}/{key}", self._folder / model / TEMPORARY
        digest = files.metadata(address).get(HASH)
        if is_there:  # the encrypted one opens before this one goes
            header.data_key(self._head(files, f"{key}{ENDING}"), key, self._keyring)
        else:
            with files.open(address, "rb") as source, temporary.open("wb") as target:
                read = stream.encrypt(source, target, key, self._keyring)[1]
            if read != digest:
                raise ChecksumMismatch(
                    f"{address} has other bytes than were sent", hint="restore the object from another copy"
                )
            files.put_file(str(temporary), f"{address}{ENDING}", Metadata={HASH: digest})
        index = read_index(self._folder, model)
        segments = tuple(
            segment.model_copy(update={"encrypted": True}) if segment.key(model) == key else segment
            for segment in index.segments
        )
        if segments != index.segments:
            write_index(self._folder, model, Index(bucket=index.bucket, segments=segments))
        files.rm_file(address)

    def _head(self, files: Any, key: str) -> bytes:
        content: bytes = files.cat_file(f"{self._bucket}/{key}", start=0, end=header.HEADER)
        return content


def _objects(files: Any, bucket: str) -> Iterator[str]:
    """Yield the keys of the segments of all models."""
    root = bucket.removeprefix(S3)
    try:
        paths = files.find(root)
    except FileNotFoundError as error:
        raise ToolError(f"{bucket}: {error}", hint="does the bucket exist?") from error
    for path in sorted(paths):
        key = path.removeprefix(f"{root}/")
        if key.removesuffix(ENDING).endswith(".parquet") and sealed.day_of(Path(key)) is not None:
            yield key
