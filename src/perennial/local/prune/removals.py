"""Find what is old and not needed, and remove it."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from perennial.local.backup.contents import TEMPORARY, is_behind_foreign_link
from perennial.local.backup.exclusion import files_stay
from perennial.local.prune import exchanged, served
from perennial.settings import Settings
from perennial.wiring import machines

LEFTOVER_DAYS = 1
"""Age of the temporary files of a process that was killed; the others live for seconds."""


EXCHANGED = "exchanged versions"


@dataclass(frozen=True)
class Removal:
    """Files or folders that go together."""

    kind: str
    name: str
    paths: tuple[Path, ...]
    size: int
    used: datetime
    """Last use or change of the newest of them."""


def removals(settings: Settings, now: datetime) -> list[Removal]:
    """Return what is older than its age and not needed; changes nothing. Raises as `served.last_used`."""
    state, served_age = settings.state, timedelta(days=settings.keep_served_days)
    work = [path for path in (*state.glob("work/*/*/"), *state.glob("batch/*/")) if _is_ours(path, state)]
    unused = [(path, used) for path, used in served.last_used(settings) if _is_ours(path, state)]
    going = {path.name for path, used in unused if now - used > served_age}
    copies = exchanged.unused(settings, going)
    candidates = [
        *(_of(settings, "served files", (path,), used) for path, used in unused),
        *(Removal(EXCHANGED, digest, (), copy.size, copy.changed) for digest, copy in copies),
        *(_of(settings, "work", (path,), _changed(path)) for path in work),
        *_files(settings, "logs", "logs", settings.keep_logs_days, now),
        *_files(settings, "logs", "airflow/logs", settings.keep_logs_days, now),
        *_files(settings, "reports", "reports", settings.keep_reports_days, now),
        *(_of(settings, "leftovers", (path,), _changed(path)) for path in _leftovers(state)),
    ]
    ages = {
        "served files": settings.keep_served_days,
        EXCHANGED: settings.keep_served_days,
        "work": settings.keep_work_days,
        "leftovers": LEFTOVER_DAYS,
    }
    return [
        removal
        for removal in candidates
        if removal.kind not in ages or now - removal.used > timedelta(days=ages[removal.kind])
    ]


def prune(settings: Settings, now: datetime) -> list[Removal]:
    """Remove it, and return what was removed; a prune that was stopped is repeated.

    Raises:
        BackupRunning: a backup is being made, which could name what goes.
    """
    with files_stay(settings):
        gone = removals(settings, now)
        for removal in list(gone):
            # Read again for each: a rollback or a release may have begun since.
            digest = removal.name.rpartition("/")[2]
            if removal.kind in ("served files", EXCHANGED) and digest in served.in_traffic(settings):
                gone.remove(removal)
                continue
            if removal.kind == EXCHANGED:
                machines.exchange(settings).remove_version(digest)
            for path in removal.paths:
                _remove(path)
                if removal.kind in ("logs", "reports"):
                    _remove_empty(path.parent, settings.state)
    return gone


def _remove(path: Path) -> None:
    """Remove a file or folder; a folder is there as a whole or not at all."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    aside = path if TEMPORARY.fullmatch(path.name) else path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):  # its process has removed it meanwhile
        os.replace(path, aside)
        shutil.rmtree(aside)


def _is_ours(path: Path, state: Path) -> bool:
    """Return whether a path is no link, and is reached by no link that an account of a process made."""
    return not path.is_symlink() and not is_behind_foreign_link(path, state)


def _remove_empty(folder: Path, state: Path) -> None:
    """Remove a folder and those above it that are empty, below the folders of the state folder."""
    with contextlib.suppress(OSError):  # not empty
        while len(folder.relative_to(state).parts) > 1:
            folder.rmdir()
            folder = folder.parent


def _files(settings: Settings, kind: str, top: str, days: int, now: datetime) -> Iterator[Removal]:
    """Yield the old files below each entry of a folder together; links are not followed.

    The log that a process of ours is writing stays, whatever its age.
    """
    root = settings.state / top
    if is_behind_foreign_link(root, settings.state):
        return
    by_entry: dict[Path, list[Path]] = {}
    for folder, folders, names in os.walk(root):
        folders.sort()
        for path in (Path(folder) / name for name in sorted(names)):
            is_written = path.parent == root and path.suffix == ".log"
            if path.is_file() and not is_written and now - _changed(path) > timedelta(days=days):
                entry = root / path.relative_to(root).parts[0]
                by_entry.setdefault(entry if path.parent != root else root, []).append(path)
    for entry, old in by_entry.items():
        yield _of(settings, kind, tuple(old), max(map(_changed, old)), entry)


def _leftovers(state: Path) -> Iterator[Path]:
    """Yield temporary files and folders anywhere below the state folder, but not those inside another one."""
    for folder, folders, names in os.walk(state):
        for name in [*folders, *names]:
            if TEMPORARY.fullmatch(name):
                yield Path(folder) / name
        folders[:] = [name for name in folders if not TEMPORARY.fullmatch(name)]


def _of(
    settings: Settings, kind: str, paths: tuple[Path, ...], used: datetime, entry: Path | None = None
) -> Removal:
    """Return the removal of paths, which are one or lie below `entry`."""
    name = (entry or paths[0]).relative_to(settings.state).as_posix()
    size = sum(status.st_size for path in paths for file in _inside(path) if (status := _status(file)))
    return Removal(kind, name if entry is None else f"{name}: {len(paths)} files", paths, size, used)


def _inside(path: Path) -> list[Path]:
    return [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]


def _status(path: Path) -> os.stat_result | None:
    """Return the status of a file or link; None where its process has removed it meanwhile."""
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _changed(path: Path) -> datetime:
    """Return the time of the newest change of a file, or of anything in a folder; now, where it is gone."""
    inside = path.rglob("*") if path.is_dir() and not path.is_symlink() else ()
    statuses = [status for entry in (path, *inside) if (status := _status(entry))]
    return datetime.fromtimestamp(max((status.st_mtime for status in statuses), default=time.time()), UTC)
