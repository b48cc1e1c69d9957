"""The files of Envoy's log of splits: read as they grow, kept small by renaming.

Envoy writes `requests.log`. A full file is renamed to `requests.<number>.log`, and Envoy is asked to open its file
again: until it does, it goes on writing the renamed one. So a file is at its end only when a later one is there. The
file that Envoy writes has the number after the last renamed one, under which it stays known when it is renamed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from perennial.adapters.envoy.access_log import LOG
from perennial.core.release.counted.user_buckets import LogPosition
from perennial.errors import RouterUnavailable

FILE_BYTES = 32 * 2**20
"""Size from which a file is renamed; some 200,000 requests."""
KEPT = 4
"""Renamed files that stay."""
LOOK_BYTES = 16 * 2**20
"""Most bytes of a look: what is left is read by the next."""
LONGEST_LINE = 2**16
LOCK_SECONDS = 10.0

REMOVED = "the router's log of users was removed before all of it was read"
CHANGED = "the router's log of users is another than was read before; what it holds by now is not counted"

_RENAMED = re.compile(r"requests\.(\d+)\.log")


@dataclass(frozen=True)
class Piece:
    """Whole lines of the log, the place after them, and why others may be missing."""

    lines: tuple[bytes, ...]
    end: LogPosition
    problems: tuple[str, ...] = ()


class UserLog:
    """The log in a folder, which only the account of the router can read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def make_folder(self) -> None:
        """Make the folder, for its owner only."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder.chmod(0o700)

    def begin(self) -> None:
        """Leave the folder without a file for an Envoy that is about to start: it makes a new one."""
        with self._locked():
            path = self._folder / LOG
            if path.exists() and path.stat().st_size:
                path.rename(self._path(_newest(self._files())))
            self._drop_old()

    def end(self) -> LogPosition:
        """Return the place after the last whole line."""
        with self._locked():
            return _end(self._files())

    def after(self, place: LogPosition) -> Piece:
        """Return the whole lines after a place, at most some LOOK_BYTES of them."""
        with self._locked():
            files = self._files()
            newest = _newest(files)
            problems: tuple[str, ...] = ()
            if files and place.file < min(files):
                problems, place = (REMOVED,), LogPosition(file=min(files))
            size = files[place.file].stat().st_size if place.file in files else 0
            if place.file > newest or place.offset > size:
                return Piece((), _end(files), (CHANGED,))
            lines: list[bytes] = []
            left = LOOK_BYTES
            for number in range(place.file, newest + 1):
                if number not in files:
                    continue
                start = place.offset if number == place.file else 0
                some, offset = _whole_lines(files[number], start, left)
                lines += some
                left -= offset - start
                place = LogPosition(file=number, offset=offset)
                if left <= LONGEST_LINE:
                    break
            return Piece(tuple(lines), place, problems)

    def keep_small(self, reopen: Callable[[], None]) -> None:
        """Rename a full file.

        Args:
            reopen: has Envoy open its file again.
        """
        with self._locked():
            path = self._folder / LOG
            if path.exists() and path.stat().st_size < FILE_BYTES:
                return
            if path.exists():
                path.rename(self._path(_newest(self._files())))
            self._drop_old()
        reopen()

    def _files(self) -> dict[int, Path]:
        """Return number -> file, with that which Envoy writes."""
        files = {
            int(name[1]): path
            for path in self._folder.iterdir()
            if (name := _RENAMED.fullmatch(path.name)) is not None
        }
        path = self._folder / LOG
        return {**files, max(files, default=0) + 1: path} if path.exists() else files

    def _drop_old(self) -> None:
        """Remove renamed files but the newest, by which the files are numbered."""
        renamed = sorted(number for number, path in self._files().items() if path.name != LOG)
        for number in renamed[:-KEPT]:
            self._path(number).unlink(missing_ok=True)

    def _path(self, number: int) -> Path:
        return self._folder / f"requests.{number}.log"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            if not self._folder.exists():
                self.make_folder()
            with FileLock(self._folder / "lock", timeout=LOCK_SECONDS):
                yield
        except Timeout as error:
            raise RouterUnavailable(
                "another process holds the lock of the router's log of users", hint="try again"
            ) from error
        except OSError as error:
            raise RouterUnavailable(
                f"the router's log of users cannot be read: {error}",
                hint="it is for the account that runs Envoy and the releases; look at its folder and the disk",
            ) from error


def _newest(files: Mapping[int, Path]) -> int:
    """Return the number of the file that Envoy writes, or will write."""
    newest = max(files, default=0)
    return newest if newest in files and files[newest].name == LOG else newest + 1


def _end(files: Mapping[int, Path]) -> LogPosition:
    newest = _newest(files)
    number = newest if newest in files or not files else max(files)
    return LogPosition(file=number, offset=_end_of_lines(files[number]) if number in files else 0)


def _whole_lines(path: Path, start: int, most: int) -> tuple[list[bytes], int]:
    """Return the whole lines from a place on, and the place after them."""
    with path.open("rb") as file:
        file.seek(start)
        content = file.read(max(0, min(most, path.stat().st_size - start)))
    whole = content[: content.rfind(b"\n") + 1]
    return whole.splitlines(), start + len(whole)


def _end_of_lines(path: Path) -> int:
    """Return the place after the last whole line."""
    size = path.stat().st_size
    with path.open("rb") as file:
        place = max(0, size - LONGEST_LINE)
        file.seek(place)
        tail = file.read(size - place)
    return place + tail.rfind(b"\n") + 1 if b"\n" in tail else place
