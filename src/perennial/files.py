"""Atomic, flushed writes of files and folders, and digests of files."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PRIVATE = 0o600
"""Mode of a file that only its owner may read."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file that replaces `path` when the block ends without an exception.

    A reader sees the old content or the new content, never a part of it. The content is on the disk before
    the rename, so a crash leaves no empty file behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)  # left by a killed process that had this process id
    try:
        yield temporary
        descriptor = _opened(temporary)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder that becomes `path` when the block ends without an exception.

    Where another process has made `path` meanwhile, its folder stays and this content is removed.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        try:
            os.replace(temporary, path)
        except OSError:
            if not path.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_plain(path: Path, most: int) -> tuple[bytes, int]:
    """Return up to `most` bytes of a regular file, and its size.

    For folders in which another account writes: what is looked at and what is read are the same open file, neither a
    link nor a pipe that was put there in between.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    descriptor = _opened(path)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "no plain file", str(path))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(most), status.st_size
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    """Return a descriptor for reading; a link is refused, and a pipe is not waited for."""
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)


def write_bytes(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a file atomically; `mode` is that of the new file, limited by the umask.

    What root writes belongs to the owner of the replaced file, else of the folder, and goes through no link.
    """
    with replacing(path) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with os.fdopen(descriptor, "wb") as file:
            if os.geteuid() == 0:
                owner = (path if path.exists() else path.parent).lstat()
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            file.write(content)


def write_text(path: Path, text: str, mode: int = 0o666) -> None:
    """Write a UTF-8 file atomically; `mode` as in `write_bytes`."""
    write_bytes(path, text.encode(), mode)


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, indented and with sorted keys."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True) + "\n")


def shared_secret(path: Path) -> str:
    """Return the random text in a file that only its owner may read; makes the file when there is none."""
    try:
        return path.read_text()
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    write_text(temporary, secrets.token_urlsafe(32), PRIVATE)
    with contextlib.suppress(FileExistsError):  # another process was faster: its secret counts
        os.link(temporary, path)
    temporary.unlink()
    return path.read_text()


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def md5(path: Path) -> str:
    """Return the MD5 of a file in hex digits, as DVC records it; it guards against damage, not attacks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
