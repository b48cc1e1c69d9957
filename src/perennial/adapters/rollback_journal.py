"""RollbackJournal in files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import ValidationError

from perennial.core.release.rollback import Rollback
from perennial.errors import StoreUnavailable
from perennial.files import write_bytes


class FileJournal:
    """RollbackJournal port: a file `<folder>/<id>.json` per rollback, flushed and replaced as a whole."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, rollback: Rollback) -> None:
        try:
            write_bytes(self._path(rollback), rollback.model_dump_json(indent=1).encode())
        except OSError as error:
            raise StoreUnavailable(
                f"{self._folder} cannot be written: {error.strerror}", hint="free the disk; nothing was moved"
            ) from error

    def pending(self) -> list[Rollback]:
        """Return the rollbacks in the order of their times.

        Raises:
            StoreUnavailable: a file is not a rollback.
        """
        rollbacks = []
        for path in self._folder.glob("*.json"):
            try:
                rollbacks.append(Rollback.model_validate_json(path.read_bytes()))
            except FileNotFoundError:
                continue  # written down by another process meanwhile
            except (ValidationError, OSError) as error:
                raise StoreUnavailable(
                    f"{path} cannot be read: {error}", hint="move it away; its rollback is not on record"
                ) from error
        return sorted(rollbacks, key=lambda rollback: rollback.at)

    def remove(self, rollback: Rollback) -> None:
        self._path(rollback).unlink(missing_ok=True)

    @contextmanager
    def recording(self) -> Iterator[bool]:
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._folder / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def _path(self, rollback: Rollback) -> Path:
        return self._folder / f"{rollback.id}.json"
