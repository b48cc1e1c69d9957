"""A copy of the work folder of a training in object storage, for steps that run on several machines."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field, ValidationError

from perennial import files
from perennial.errors import ChecksumMismatch, DatasetMissing, MalformedInput

if TYPE_CHECKING:
    from perennial.ports.training import Objects

CONTENTS = "contents.json"
FIRST_STEP = "prepare"
DIGEST = re.compile(r"[0-9a-f]{64}")


class Contents(BaseModel, extra="forbid"):
    """Which files the folder had when the last step ended: path in it -> SHA-256."""

    files: dict[str, str] = Field(default_factory=dict)


def fetch(folder: Path, step: str, kept: Objects) -> None:
    """Make the work folder what the last finished step has kept, on whichever machine it ran.

    Files that this machine has of a step that did not finish here are removed; what is the same is not copied.

    Raises:
        DatasetMissing: nothing is kept, and the step is not the first.
        MalformedInput, ChecksumMismatch: the copy is damaged.
    """
    contents = _contents(kept)
    if contents is None:
        if step != FIRST_STEP:
            raise DatasetMissing(
                f"{kept.address} has no work folder of an earlier step", hint=f"run `{FIRST_STEP}` first"
            )
        contents = Contents()
    wanted = {folder / name: digest for name, digest in contents.files.items()}
    for path in _files(folder):
        if path not in wanted:
            path.unlink()
    for path, digest in wanted.items():
        if path.is_file() and files.sha256(path) == digest:
            continue
        with files.replacing(path) as temporary:
            _download(digest, temporary, kept)


def keep(folder: Path, kept: Objects) -> None:
    """Store the work folder.

    Each file is stored by its digest and the list of them last, so a killed upload changes nothing for a reader, and
    two machines that store at once leave the folder of one of them.
    """
    before = _contents(kept)
    there = set(before.files.values()) if before is not None else set()
    contents = Contents()
    for path in _files(folder):
        digest = files.sha256(path)
        contents.files[path.relative_to(folder).as_posix()] = digest
        if digest not in there:
            kept.upload(f"objects/{digest}", path)
            there.add(digest)
    kept.write(CONTENTS, contents.model_dump_json().encode())


def read(name: str, kept: Objects) -> bytes:
    """Return one file of the work folder; raises as `fetch`."""
    contents = _contents(kept) or Contents()
    if name not in contents.files:
        raise DatasetMissing(f"{kept.address} has no {name}", hint="run the step that writes it")
    digest = contents.files[name]
    content = kept.find(f"objects/{digest}")
    if content is None:
        raise _gone(digest, kept)
    if hashlib.sha256(content).hexdigest() != digest:
        raise _changed(digest, kept)
    return content


def _contents(kept: Objects) -> Contents | None:
    stored = kept.find(CONTENTS)
    if stored is None:
        return None
    try:
        contents = Contents.model_validate_json(stored)
    except ValidationError as error:
        raise MalformedInput(f"{kept.address}/{CONTENTS}: {error}", hint="run the training again") from error
    for name, digest in contents.files.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or DIGEST.fullmatch(digest) is None:
            raise MalformedInput(
                f"{kept.address}/{CONTENTS} names {name}: {digest}",
                hint="who may write there beside trainings?",
            )
    return contents


def _download(digest: str, path: Path, kept: Objects) -> None:
    if not kept.download(f"objects/{digest}", path):
        raise _gone(digest, kept)
    if files.sha256(path) != digest:
        raise _changed(digest, kept)


def _gone(digest: str, kept: Objects) -> DatasetMissing:
    hint = "does the bucket delete too early? Train again"
    return DatasetMissing(f"{kept.address}/objects/{digest} is gone", hint=hint)


def _changed(digest: str, kept: Objects) -> ChecksumMismatch:
    hint = "who may write there beside trainings?"
    return ChecksumMismatch(f"{kept.address}/objects/{digest} has other bytes", hint=hint)


def _files(folder: Path) -> list[Path]:
    """Return the files of a folder, without those of an unfinished write, whose names begin with a dot."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(part[0] == "." for part in path.relative_to(folder).parts)
    )
