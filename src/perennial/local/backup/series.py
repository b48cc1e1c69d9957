"""A folder of backups, each named by its time: the oldest are removed when a new one is complete."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from perennial.errors import BackupRunning
from perennial.local.backup.make import is_backup
from perennial.local.backup.manifest import UNFINISHED

NAME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{6}Z")
REMOVED = ".removed"


@contextmanager
def next_of(folder: Path, keep: int, at: datetime, say: Callable[[str], None]) -> Iterator[Path]:
    """Yield the path of a new backup in a folder, and remove all but the newest ones when it was made.

    What killed runs left is removed first. What has another name, or is no backup, stays.

    Args:
        keep: number of backups that stay, with the new one; whatever the clock says, it is one of them.

    Raises:
        BackupRunning: another process makes a backup in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(folder / ".lock", timeout=0).acquire()
    except Timeout as error:
        raise BackupRunning(f"a backup into {folder} is running", hint="wait for its end") from error
    with lock:
        unfinished = [path for path in _named(folder) if (path / UNFINISHED).exists() and not is_backup(path)]
        for left in (*folder.glob(f".*{REMOVED}"), *unfinished):
            shutil.rmtree(left)
        made = folder / f"{at.astimezone(UTC):%Y-%m-%dT%H%M%SZ}"
        yield made
        older = [path for path in _named(folder) if is_backup(path) and path != made]
        for path in older[: max(0, len(older) - keep + 1)]:
            # At once: a half removed backup must not pass for one.
            shutil.rmtree(path.rename(path.with_name(f".{path.name}{REMOVED}")))
            say(f"removed: {path}")


def _named(folder: Path) -> list[Path]:
    """Return the folders with the name of a backup of ours, oldest first."""
    return sorted(
        path
        for path in folder.iterdir()
        if NAME.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
    )
