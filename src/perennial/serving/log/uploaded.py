"""Segments of the prediction log that lie in object storage alone; an index in the folder of the model says which.

A reader looks at the local segments first and at the index then: what is removed here in between is there by then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from pydantic import Field, ValidationError

from perennial.core.frozen import Frozen
from perennial.encryption.keyring import Keyring
from perennial.encryption.stream import decrypted, encrypted_size
from perennial.errors import ModelFileError, ToolError
from perennial.files import write_text
from perennial.object_storage import storage

INDEX = "uploaded.json"
ENDING = ".enc"
"""Ending of the name of an encrypted object, behind that of its segment."""
HASH = "sha256"
"""Key of an object's metadata: the SHA-256 of the segment, which for an encrypted object is what it holds."""


class UploadedSegment(Frozen):
    """A segment whose only copy is in object storage."""

    day: date
    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$", description="without suffix")
    size: int = Field(ge=0, description="bytes")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    encrypted: bool = Field(False, description="the object is; size and SHA-256 are those of the segment")

    def path(self, model: str) -> str:
        """Return the path of the segment below the folder of the log."""
        return f"{model}/day={self.day}/{self.name}.parquet"

    def key(self, model: str) -> str:
        """Return the path of the object below the folder in object storage."""
        return f"{self.path(model)}{ENDING if self.encrypted else ''}"

    @property
    def stored_size(self) -> int:
        """Return the bytes of the object."""
        return encrypted_size(self.size) if self.encrypted else self.size


class Index(Frozen):
    """The segments of a model that are not here."""

    bucket: str = Field(description="s3://bucket/folder")
    segments: tuple[UploadedSegment, ...] = ()


@dataclass(frozen=True)
class RemoteSegment:
    """A segment as the readers of `sealed` open it."""

    folder: Path
    """Folder of the log."""
    model: str
    bucket: str
    segment: UploadedSegment
    keyring: Keyring | None
    """Keys of encrypted objects."""

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open the object, to be read in the block.

        Raises:
            FileNotFoundError: its retention time has just ended: the index no longer has it.
            ToolError: it is gone although the index has it, or the storage does not answer.
            KeyMissing, DecryptionFailed: it is encrypted, and does not open.
        """
        address = f"{self.bucket}/{self.segment.key(self.model)}"
        try:
            with storage(address) as files, files.open(address, "rb") as file:
                if self.segment.encrypted:
                    yield decrypted(file, self.segment.path(self.model), self.keyring)
                else:
                    yield file
        except FileNotFoundError as error:
            if self.segment not in read_index(self.folder, self.model).segments:
                raise
            raise ToolError(
                f"{address} is gone, and the log has it nowhere else",
                hint="restore it; predictions of its day are missing without it",
            ) from error


def read_index(folder: Path, model: str) -> Index:
    """Return the index of a model; without a file, that nothing is elsewhere.

    Raises:
        ModelFileError: the file is no index.
    """
    path = folder / model / INDEX
    try:
        return Index.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Index(bucket="")
    except ValidationError as error:
        raise ModelFileError(
            f"{path} is no index of uploaded segments",
            hint="remove it: the next `perennial predictions upload` makes it anew",
        ) from error


def write_index(folder: Path, model: str, index: Index) -> None:
    """Replace the index."""
    write_text(folder / model / INDEX, index.model_dump_json(indent=2) + "\n")


def uploaded(
    folder: Path, model: str, since: datetime | None, local: Collection[str], keyring: Keyring | None
) -> Iterator[RemoteSegment]:
    """Yield the segments that are not here and may have rows at or after `since`.

    Args:
        local: names of the segments that are here.
        keyring: keys of encrypted objects.
    """
    index = read_index(folder, model)
    for segment in index.segments:
        # As in `sealed.segments`: a request may be logged moments after the day.
        late = since is None or segment.day + timedelta(days=1) >= since.date()
        if late and segment.name not in local:
            yield RemoteSegment(folder, model, index.bucket, segment, keyring)


def of_day(folder: Path, day: str, keyring: Keyring | None) -> Iterator[RemoteSegment]:
    """Yield the segments of a day, of all models, that are not here."""
    for path in sorted(folder.glob(f"*/{INDEX}")):
        model = path.parent.name
        for remote in uploaded(folder, model, None, (), keyring):
            if remote.segment.day.isoformat() == day:
                yield remote
