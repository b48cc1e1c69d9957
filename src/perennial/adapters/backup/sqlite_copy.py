"""Copies of SQLite databases while others write to them, by SQLite's online backup."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from perennial.errors import ToolError

HEADER = b"SQLite format 3\x00"
ASIDE = ("-wal", "-shm", "-journal")
"""Endings of files that belong to an open database; a copy made by SQLite needs none of them."""
BUSY_SECONDS = 60


def is_database(path: Path) -> bool:
    """Return whether a file is an SQLite database."""
    with path.open("rb") as file:
        return file.read(len(HEADER)) == HEADER


def copy(source: Path, target: Path) -> None:
    """Copy the database as it is at one moment; a writer waits at most for the copy.

    Raises:
        ToolError: SQLite refuses; OSError with ENOSPC: the disk of the target is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    address = (
        f"{source.resolve().as_uri()}?mode=rw"  # `ro` cannot open what a stopped process left in WAL mode
    )
    try:
        with (
            closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS)) as live,
            closing(sqlite3.connect(target)) as copied,
        ):
            live.backup(copied)
        shutil.copymode(source, target)
    except sqlite3.Error as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            raise OSError(errno.ENOSPC, "No space left on device", str(target)) from error
        raise ToolError(f"{source} cannot be copied: {error}", hint=f"sqlite3 {source} .recover") from error
