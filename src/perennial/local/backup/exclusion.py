"""Exclusion of a backup and of whatever deletes files that the backup would miss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from perennial.errors import BackupRunning
from perennial.settings import Settings


@contextmanager
def files_stay(settings: Settings) -> Iterator[None]:
    """Run the block while nobody else makes a backup or deletes files of versions.

    Raises:
        BackupRunning: somebody does.
    """
    settings.state.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(settings.state / "backup.lock", timeout=0).acquire()
    except Timeout as error:
        raise BackupRunning(
            f"a backup of {settings.state}, or a deletion of files there, is running", hint="wait for its end"
        ) from error
    with lock:
        yield
