"""A copy of the work folder of a training in object storage, for steps that run on several machines."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING, Annotated, NamedTuple

from filelock import FileLock, Timeout
from pydantic import BaseModel, Field, ValidationError

from perennial import files
from perennial.errors import ChecksumMismatch, DatasetMissing, FileRefused, MalformedInput, TrainingFailed

if TYPE_CHECKING:
    from filelock import AcquireReturnProxy

    from perennial.ports.training import Objects

CONTENTS = "contents.json"
OBJECTS = "objects"
FIRST_STEP = "prepare"
MARKER = ".kept-in"
"""File of a work folder with the address of its copy: what is not in the copy may be removed there."""
LOCK = ".kept-in.lock"


class Contents(BaseModel, extra="forbid"):
    """Which files the folder had when the last step ended: path in it -> SHA-256."""

    files: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = Field(default_factory=dict)


class Fetched(NamedTuple):
    """State in which a step began."""

    listed: bytes | None
    """The list of the copy; None where there was none."""
    digests: dict[Path, tuple[tuple[int, ...], str]]
    """Files whose digest was looked at, with the stamp that they had then."""


@contextmanager
def copied(folder: Path, step: str, kept: Objects, say: Callable[[str], None]) -> Iterator[None]:
    """Run a step in a work folder: fetched before it, kept when it has ended well.

    A second try on this machine waits for the end of one that still runs, whose files it would take away.

    Raises:
        FileRefused: the folder has files, and is not that of this copy.
        DatasetMissing, MalformedInput, ChecksumMismatch: as `fetch`. TrainingFailed: as `keep`.
    """
    _claim(folder, kept)
    with _turn(folder, say):
        fetched = fetch(folder, step, kept)
        yield
        keep(folder, kept, fetched)


def fetch(folder: Path, step: str, kept: Objects) -> Fetched:
    """Make the work folder what the last finished step has kept, on whichever machine it ran.

    Files that this machine has of a step that did not finish here are removed; what is the same is not copied. The
    first step begins with an empty folder, whatever an earlier try has kept.

    Raises:
        DatasetMissing: nothing is kept, and the step is not the first.
        MalformedInput, ChecksumMismatch: the copy is damaged.
    """
    listed = kept.find(CONTENTS)
    if step == FIRST_STEP:
        contents = Contents()
    elif listed is None:
        raise DatasetMissing(
            f"{kept.address} has no work folder of an earlier step", hint=f"run `{FIRST_STEP}` first"
        )
    else:
        contents = _read(listed, kept)
    wanted = {folder / name: digest for name, digest in contents.files.items()}
    for path in _files(folder):
        if path not in wanted:
            path.unlink()
    digests = {}
    for path, digest in wanted.items():
        if not path.is_file() or files.sha256(path) != digest:
            with files.replacing(path) as temporary:
                _download(digest, temporary, kept)
        digests[path] = (_stamp(path), digest)
    return Fetched(listed, digests)


def keep(folder: Path, kept: Objects, fetched: Fetched) -> None:
    """Store the work folder that a step has changed.

    Each file is stored by its digest and the list of them last, so a killed upload changes nothing for a reader. A try
    that was taken for dead, and ends after a later one or a later step, leaves what that has kept.

    Raises:
        TrainingFailed: another try has kept the folder since it was fetched.
    """
    there = set(kept.names(OBJECTS))
    contents = Contents()
    for path in _files(folder):
        stamp, digest = fetched.digests.get(path, ((), ""))
        if stamp != _stamp(path):
            digest = files.sha256(path)
        contents.files[path.relative_to(folder).as_posix()] = digest
        name = f"{OBJECTS}/{digest}"
        if name not in there:
            kept.upload(name, path)
            there.add(name)
    if kept.find(CONTENTS) != fetched.listed:
        raise TrainingFailed(
            f"another try of the training has kept its work in {kept.address} meanwhile",
            hint="that one counts; look whether two workers run the same step",
        )
    kept.write(CONTENTS, contents.model_dump_json().encode())


def read(name: str, kept: Objects) -> bytes:
    """Return one file of the work folder; raises as `fetch`."""
    listed = kept.find(CONTENTS)
    contents = Contents() if listed is None else _read(listed, kept)
    if name not in contents.files:
        raise DatasetMissing(f"{kept.address} has no {name}", hint="run the step that writes it")
    digest = contents.files[name]
    content = kept.find(f"{OBJECTS}/{digest}")
    if content is None:
        raise _gone(digest, kept)
    if hashlib.sha256(content).hexdigest() != digest:
        raise _changed(digest, kept)
    return content


def _claim(folder: Path, kept: Objects) -> None:
    """Mark a new folder as that of the copy, and one that is marked as in use now; nothing else is touched."""
    marker = folder / MARKER
    if marker.is_file():
        marked = marker.read_text(encoding="utf-8")
        if marked != kept.address:
            raise FileRefused(f"{folder} is the work folder of {marked}", hint="--workdir: a new folder")
    elif _files(folder):
        raise FileRefused(
            f"{folder} has files that would be removed: it was not made by --kept-in {kept.address}",
            hint="--workdir: a new folder",
        )
    files.write_text(marker, kept.address)


def _turn(folder: Path, say: Callable[[str], None]) -> AcquireReturnProxy[FileLock]:
    """Return the held lock of a work folder, which ends with its process."""
    lock = FileLock(folder / LOCK)
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        say(f"another try works in {folder}: waiting for its end")
        return lock.acquire()


def _read(listed: bytes, kept: Objects) -> Contents:
    try:
        contents = Contents.model_validate_json(listed)
    except ValidationError as error:
        raise MalformedInput(f"{kept.address}/{CONTENTS}: {error}", hint="run the training again") from error
    for name in contents.files:
        path = PurePosixPath(name)
        is_plain = name == str(path) and name.isprintable() and not path.is_absolute() and path.parts
        if not is_plain or _is_hidden(path) or any(str(parent) in contents.files for parent in path.parents):
            raise MalformedInput(
                f"{kept.address}/{CONTENTS} names {name!r}", hint="who may write there beside trainings?"
            )
    return contents


def _download(digest: str, path: Path, kept: Objects) -> None:
    if not kept.download(f"{OBJECTS}/{digest}", path):
        raise _gone(digest, kept)
    if files.sha256(path) != digest:
        raise _changed(digest, kept)


def _gone(digest: str, kept: Objects) -> DatasetMissing:
    hint = f"does the bucket delete too early? Run `{FIRST_STEP}` and what follows again"
    return DatasetMissing(f"{kept.address}/{OBJECTS}/{digest} is gone", hint=hint)


def _changed(digest: str, kept: Objects) -> ChecksumMismatch:
    hint = "who may write there beside trainings?"
    return ChecksumMismatch(f"{kept.address}/{OBJECTS}/{digest} has other bytes", hint=hint)


def _stamp(path: Path) -> tuple[int, ...]:
    """Return what changes with the bytes of a file: its inode, size and times in nanoseconds."""
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _files(folder: Path) -> list[Path]:
    """Return the files of a folder, without ours and those of an unfinished write, whose names begin with a dot."""
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and not _is_hidden(path.relative_to(folder))
    )


def _is_hidden(path: PurePath) -> bool:
    return any(part[0] == "." for part in path.parts)
