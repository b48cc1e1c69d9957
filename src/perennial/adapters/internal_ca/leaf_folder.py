"""Write the folder of a certificate, all its files at once: a new folder of files, and a link that is replaced."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from perennial.files import PRIVATE
from perennial.internal_tls.identity import DATA

Owner = tuple[int, int]
"""User and group."""


def write(folder: Path, content: Mapping[str, bytes], owner: Owner | None) -> None:
    """Replace the files of a folder; a reader who follows the link sees those before or these, never both.

    Args:
        owner: whose the files are; the folders stay those of whoever writes, so that a process cannot lead root
            elsewhere by a link. None: whoever writes.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    data = folder / f"..{secrets.token_hex(6)}"
    data.mkdir(mode=0o700)
    for name, text in content.items():
        descriptor = os.open(data / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, PRIVATE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
            if owner is not None:
                os.fchown(descriptor, *owner)
    if owner is not None:
        for own in (folder, data):
            os.chown(own, -1, owner[1], follow_symlinks=False)
            own.chmod(0o750)
    for name in content:
        _link(folder / name, f"{DATA}/{name}")
    _link(folder / DATA, data.name)
    for old in folder.glob("..*"):
        if old.name not in (DATA, data.name) and not old.is_symlink():
            shutil.rmtree(old)


def _link(path: Path, target: str) -> None:
    if path.is_symlink() and os.readlink(path) == target:
        return
    temporary = path.with_name(f".{path.name.lstrip('.')}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    os.replace(temporary, path)


def holds(folder: Path, content: Mapping[str, bytes], owner: Owner | None) -> bool:
    """Return whether the folder has exactly this content, for this owner only."""
    for name, text in content.items():
        path = folder / name
        try:
            status = path.stat()
            if path.read_bytes() != text or status.st_mode & 0o077:
                return False
        except OSError:
            return False
        if owner is not None and (status.st_uid, status.st_gid) != owner:
            return False
    return (folder / DATA).is_symlink()
