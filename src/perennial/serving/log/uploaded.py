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
from perennial.errors import ModelFileError, ToolError
from perennial.files import write_text
from perennial.object_storage import storage

INDEX = "uploaded.json"


class UploadedSegment(Frozen):
    """A segment whose only copy is in object storage."""

    day: date
    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$", description="without suffix")
    size: int = Field(ge=0, description="bytes")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    def key(self, model: str) -> str:
        """Return the path below the folder of the log, here and in object storage."""
        return f"{model}/day={self.day}/{self.name}.parquet"


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

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open the object, to be read in the block.

        Raises:
            FileNotFoundError: its retention time has just ended: the index no longer has it.
            ToolError: it is gone although the index has it, or the storage does not answer.
        """
        address = f"{self.bucket}/{self.segment.key(self.model)}"
        try:
            with storage(address) as files, files.open(address, "rb") as file:
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
    folder: Path, model: str, since: datetime | None, local: Collection[str]
) -> Iterator[RemoteSegment]:
    """Yield the segments that are not here and may have rows at or after `since`.

    Args:
        local: names of the segments that are here.
    """
    index = read_index(folder, model)
    for segment in index.segments:
        # As in `sealed.segments`: a request may be logged moments after the day.
        late = since is None or segment.day + timedelta(days=1) >= since.date()
        if late and segment.name not in local:
            yield RemoteSegment(folder, model, index.bucket, segment)


def of_day(folder: Path, day: str) -> Iterator[RemoteSegment]:
    """Yield the segments of a day, of all models, that are not here."""
    for path in sorted(folder.glob(f"*/{INDEX}")):
        model = path.parent.name
        for remote in uploaded(folder, model, None, ()):
            if remote.segment.day.isoformat() == day:
                yield remote
