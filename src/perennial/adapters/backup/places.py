"""Trees of files, in a folder or in object storage, copied with the SHA-256 of each file."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from perennial.object_storage import S3, storage

BLOCK = 1 << 20


def is_address(place: str) -> bool:
    """Return whether a place is in object storage."""
    return place.startswith(S3)


def is_empty(place: str) -> bool:
    """Return whether nothing lies there."""
    if is_address(place):
        with storage(place) as objects:
            return not objects.find(place.removeprefix(S3))
    folder = Path(place)
    return not folder.exists() or not any(folder.iterdir())


class Target(Protocol):
    """Where copies go: `folder.BackupFolder`."""

    def copy(self, source: Path, name: str) -> tuple[int, str]: ...
    def add(self, source: BinaryIO, name: str) -> tuple[int, str]: ...


def save(
    place: str, target: Target, below: str, is_left_out: Callable[[Path], bool]
) -> Iterator[tuple[str, int, str]]:
    """Copy all files of a place, but some of a folder; yields name, size and SHA-256 of each.

    Args:
        below: what the names in the target begin with.
    """
    if not is_address(place):
        for path in sorted(Path(place).rglob("*")):
            if path.is_file() and not is_left_out(path):
                name = f"{below}/{path.relative_to(place).as_posix()}"
                yield name, *target.copy(path, name)
        return
    with storage(place) as objects:
        root = place.removeprefix(S3).rstrip("/")
        for key in sorted(objects.find(root)):
            name = f"{below}/{key.removeprefix(f'{root}/')}"
            with objects.open(key, "rb") as source:
                size, digest = target.add(source, name)
            yield name, size, digest


def load(source: Path, name: str, digest: str, place: str) -> None:
    """Put a file into a place under a name.

    Args:
        digest: its SHA-256, which the upload of the prediction log looks for in the metadata of an object.
    """
    if not is_address(place):
        copy_file(source, Path(place) / name)
        return
    with storage(place) as objects:
        objects.put_file(str(source), f"{place.rstrip('/')}/{name}", Metadata={"sha256": digest})


def copy_file(source: Path, target: Path) -> tuple[int, str]:
    """Copy a file with its mode and time; return size and SHA-256 of what was written, for a file may be growing."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with source.open("rb") as read, target.open("wb") as write:
        left = os.fstat(read.fileno()).st_size
        while left and (block := read.read(min(BLOCK, left))):
            write.write(block)
            digest.update(block)
            size, left = size + len(block), left - len(block)
    shutil.copystat(source, target)
    return size, digest.hexdigest()
