"""Parts of journals on their way from a serving machine to the control plane, by object storage.

A part is `log/<machine>/<path below the serving folder>/<offset>-<bytes>`: the whole lines of a journal from a byte
offset. A pass that was killed may be followed by a longer part from there: a part of its own, since the control plane
may be about to remove the shorter one.
The serving machine keeps a journal for a day after it was sent; the control plane removes a part when its own journal
has it.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock
from pydantic import BaseModel, TypeAdapter

from perennial.files import write_bytes
from perennial.serving.log.hours import hour_end

FOLDER = "log"
MOST_BYTES = 8 * 1024 * 1024
KEPT = timedelta(days=1)
"""Time that a machine keeps a journal of an ended hour."""
PART = re.compile(
    r"log/(?P<machine>[a-z][a-z0-9_]*(\.[a-z0-9-]+)?)/(?P<journal>(log/\w[\w.-]*|feedback)/\w[\w.-]*\.jsonl)/(?P<offset>\d{15})(-\d+)?"
)
_OFFSETS = TypeAdapter(dict[str, int])


class Parts(Protocol):
    """Object storage with names below a folder (`adapters.exchange`)."""

    def write(self, name: str, content: bytes) -> None: ...
    def read(self, name: str) -> bytes: ...
    def remove(self, name: str) -> None: ...
    def names(self, folder: str) -> list[str]:
        """Return the names of all objects below a folder, in order."""


class LogSender:
    """Sends what the model servers of this machine have logged. A pass can be killed and repeated at any time.

    Args:
        serving_dir: folder with `log` and `feedback`.
        machine: name of this machine.
    """

    def __init__(self, serving_dir: Path, machine: str, parts: Parts) -> None:
        self._folder, self._machine, self._parts = serving_dir, machine, parts
        self._state = serving_dir / "sent.json"

    def run(self, now: datetime) -> int:
        """Send the new lines of every journal, and remove old journals; returns the bytes sent.

        Raises:
            ToolError: the object storage does not answer; nothing is lost.
        """
        sent = _read(self._state, _OFFSETS)
        total = 0
        paths = self._journals()
        for path in paths:
            name = path.relative_to(self._folder).as_posix()
            for content in self._new_lines(path, sent.get(name, 0)):
                offset = sent.get(name, 0)
                self._parts.write(f"{FOLDER}/{self._machine}/{name}/{offset:015d}-{len(content)}", content)
                sent[name] = offset + len(content)
                total += len(content)
                write_bytes(self._state, _OFFSETS.dump_json(sent))
            if _is_old(path, now) and _remove(path, sent.get(name, 0)):
                sent.pop(name, None)  # without a whole line nothing was sent
                write_bytes(self._state, _OFFSETS.dump_json(sent))
        return total

    def _journals(self) -> list[Path]:
        return sorted((*self._folder.glob("log/*/*.jsonl"), *self._folder.glob("feedback/*.jsonl")))

    def _new_lines(self, path: Path, offset: int) -> Iterator[bytes]:
        """Yield the whole lines from an offset in contents of at most `MOST_BYTES`, or of a longer line."""
        with path.open("rb") as file:
            file.seek(offset)
            while lines := file.readlines(MOST_BYTES):
                torn = not lines[-1].endswith(b"\n")  # it is being written
                if whole := b"".join(lines[:-1] if torn else lines):
                    yield whole
                if torn:
                    return


class _Journal(BaseModel):
    """How much of a machine's journal is in a file here."""

    file: str
    base: int
    """Offset of the first byte of the file in the journal."""
    next: int


_JOURNALS = TypeAdapter(dict[str, _Journal])


class LogReceiver:
    """Appends the parts of all machines to journals here. A pass can be killed and repeated at any time.

    Args:
        serving_dir: folder with `log` and `feedback`, as readers of the log and the inbox of feedback have it.
    """

    def __init__(self, serving_dir: Path, parts: Parts) -> None:
        self._folder, self._parts = serving_dir, parts
        self._state = serving_dir / "received.json"

    def run(self) -> int:
        """Take every part that is there; returns the bytes that are new.

        Raises:
            ToolError: the object storage does not answer.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self._folder / ".received.lock"):
            journals = _read(self._state, _JOURNALS)
            return sum(self._take(name, journals) for name in self._parts.names(FOLDER))

    def _take(self, name: str, journals: dict[str, _Journal]) -> int:
        part = PART.fullmatch(name)
        if part is None:
            return 0  # no part of ours
        offset, key = int(part["offset"]), f"{part['machine']}/{part['journal']}"
        content = self._parts.read(name)
        known = journals.get(key)
        if known is None or offset > known.next:
            known = _Journal(file=_file(part["journal"], part["machine"], offset), base=offset, next=offset)
        fresh = content[known.next - offset :]
        if fresh:
            if not self._append(known, fresh):  # sealed meanwhile
                known.base, known.file = known.next, _file(part["journal"], part["machine"], known.next)
                self._append(known, fresh)
            known.next += len(fresh)
        journals[key] = known
        write_bytes(self._state, _JOURNALS.dump_json(journals))
        self._parts.remove(name)
        return len(fresh)

    def _append(self, journal: _Journal, content: bytes) -> bool:
        """Append to the file at its place; what a killed pass left behind it goes. False: the file was sealed."""
        path, size = self._folder / journal.file, journal.next - journal.base
        if size and not path.exists():
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # the archive deletes a journal with this lock
            if not os.fstat(descriptor).st_nlink:
                return False
            file.truncate(size)
            file.seek(size)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        return True


def _file(journal: str, machine: str, offset: int) -> str:
    """Return the file of a journal here; its hour stays at the front, and no two machines have one file."""
    path = Path(journal)
    hour, dash, rest = path.stem.partition("-")
    at = f"@{offset}" if offset else ""
    return str(path.with_name(f"{hour}-{machine}{dash}{rest}{at}.jsonl"))


def _is_old(path: Path, now: datetime) -> bool:
    end = hour_end(path)
    return end is not None and end + KEPT < now


def _remove(path: Path, sent: int) -> bool:
    """Remove a journal whose lines were all sent; a last line without an end is that of a killed server."""
    with path.open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # a server that writes to an ended hour looks with this lock
        file.seek(sent)
        if b"\n" in file.read():
            return False
        path.unlink()
    return True


def _read(path: Path, kind: TypeAdapter[Any]) -> Any:
    try:
        return kind.validate_json(path.read_bytes())
    except FileNotFoundError:
        return {}
