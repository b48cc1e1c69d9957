"""Writing of the prediction log: the answers of a model server with the feature values that it used.

The files are journals of JSON lines, `<folder>/<model>/<hour>-<writer>.<number>.jsonl`, by server process and hour, a
line per request. A single `write` appends the line before the answer is sent, so that a killed server loses no answered
request; at most the last line of its file is torn. `serving.prediction_archive` makes columnar segments of ended hours.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from perennial.serving.assignment import Assigned

if TYPE_CHECKING:
    from perennial.serving.desired_state import DesiredVersion
    from perennial.serving.session import LoadedVersion

HOUR = "%Y%m%dT%H"
HOUR_SECONDS = 3600
PROBE_BYTES = 4096
ID_ENTROPY = 10
MANY_ROWS = 8
"""Rows from which features are written as base64 of little-endian float32, row by row: numbers as text cost more than
the model that takes them."""
JOURNAL_BYTES = 64 * 1024 * 1024
"""Size from which a new file is begun: a file is sealed in memory."""
MOST_VERSIONS = 2048
"""Versions whose common part of a line is kept."""
MOST_OPEN = 200
"""Journals that are open at once: each takes a descriptor, of which a process often has 1,024."""


def writer_name(kind: str, at: datetime) -> str:
    """Return a unique name of this process as a writer: a process id alone is reused after a restart."""
    return f"{kind}-{os.getpid()}-{at:%Y%m%d%H%M%S%f}"


def new_ids(count: int, at: datetime, entropy: bytes) -> list[str]:
    """Return prediction ids that sort by time: 48 bits of milliseconds and 80 random bits as hex.

    Args:
        entropy: `ID_ENTROPY` random bytes per id.
    """
    stamp = f"{int(at.timestamp() * 1000):012x}"
    if count == 1:
        return [stamp + entropy.hex()]
    # From the right the groups are whole ones.
    return (stamp + entropy.hex(",", ID_ENTROPY).replace(",", "," + stamp)).split(",")


# Not frozen: every request makes one, and a frozen one takes several times as long to make.
@dataclass(slots=True)
class AnsweredRequest:
    """A request with the answer of a version."""

    at: datetime
    request_id: str
    version: LoadedVersion
    release_id: str | None
    shadow: bool
    latency_ms: float
    ids: Sequence[str]
    entities: Sequence[dict[str, Any] | None]
    features: np.ndarray
    """float32 [n, features], as given to the model."""
    scores: np.ndarray
    """float32 [n]: the score, the value, or the highest probability (`Task.summary`)."""
    decisions: Sequence[int]
    """As `Task.decisions` gives them."""
    probabilities: np.ndarray | None = None
    """float32 [n, k]; None where the score is the whole answer."""
    context: dict[str, Any] = field(default_factory=dict)
    """Request values of a prediction by entity; with them the features can be computed again."""
    assigned: Assigned | None = None
    client: str | None = None
    """Pseudonym of the client's address."""


@dataclass(slots=True)
class _Journal:
    """A file of this process."""

    path: Path
    hour: int
    """Hours since 1970."""
    descriptor: int | None = None
    """None: it is closed, and is opened again for the next line."""
    size: int = 0


class PredictionLogWriter:
    """Appends the requests of this process; opens a file at the first request of each hour, and where one is full.

    Args:
        writer: `writer_name` of this process; another process would append to the torn line of a killed one.
    """

    def __init__(self, folder: Path, pool: str, writer: str) -> None:
        self._folder = folder
        self._pool = pool
        self._writer = writer
        self._journals: dict[str, _Journal] = {}
        self._open: dict[str, _Journal] = {}
        """The open ones of the journals by model, the one opened first at the front."""
        self._number = 0
        self._common: dict[int, tuple[DesiredVersion, bytes]] = {}
        self._lock = threading.Lock()

    def append(self, answered: AnsweredRequest) -> None:
        """Write a request.

        Raises:
            OSError: the line cannot be written; the caller must not send the answer.
        """
        at = answered.at.timestamp()
        content = {
            "at": at,
            "request_id": answered.request_id,
            "release_id": answered.release_id,
            "shadow": answered.shadow,
            "latency_ms": int(answered.latency_ms * 1000 + 0.5) / 1000,
            "ids": answered.ids,
            "entities": answered.entities,
            "context": answered.context,
            "client": answered.client,
            "scores": answered.scores,
            "decisions": answered.decisions,
            "features": answered.features
            if len(answered.features) < MANY_ROWS
            else _packed(answered.features),
        }
        if answered.probabilities is not None:
            content["probabilities"] = answered.probabilities
        if answered.assigned is not None:
            content |= vars(answered.assigned)
        own = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)
        with self._lock:
            line = self._of_version(answered.version) + own[1:]
            model = answered.version.wanted.model
            journal, descriptor = self._journal(model, at)
            if time.time() < (journal.hour + 1) * HOUR_SECONDS:
                append_whole(descriptor, line)
            else:
                journal = self._append_late(model, at, line)
            journal.size += len(line)

    def _append_late(self, model: str, at: float, line: bytes) -> _Journal:
        """Write a line of an hour that has ended: this process was stopped meanwhile, and its journal may be sealed."""
        while True:
            journal, descriptor = self._journal(model, at)
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # the archive deletes a journal with this lock
            try:
                if os.fstat(descriptor).st_nlink:
                    append_whole(descriptor, line)
                    return journal
            finally:
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            self._close(model)
            del self._journals[model]

    def _of_version(self, version: LoadedVersion) -> bytes:
        """Return the start of a line: what all requests of the version have in common, serialised once."""
        wanted, manifest = version.wanted, version.manifest
        known = self._common.get(id(wanted))
        if known is not None:  # the reference keeps the object, so that no other gets its id
            return known[1]
        if len(self._common) >= MOST_VERSIONS:
            self._common.clear()
        common = orjson.dumps(
            {
                "version": wanted.version,
                "digest": wanted.digest,
                "capsule": wanted.capsule,
                "pool": self._pool,
                "names": manifest.features,
                "task": manifest.task.model_dump(),
            }
        )
        start = common[:-1] + b","
        self._common[id(wanted)] = wanted, start
        return start

    def _journal(self, model: str, at: float) -> tuple[_Journal, int]:
        """Return the journal of a model for a time, and its descriptor."""
        hour = int(at // HOUR_SECONDS)
        journal = self._journals.get(model)
        if journal is not None and journal.hour == hour and journal.size < JOURNAL_BYTES:
            if journal.descriptor is not None:
                return journal, journal.descriptor
            with contextlib.suppress(FileNotFoundError):  # sealed: its name is not used again
                return journal, self._opened(model, journal, 0)
        self._close(model)
        folder = self._folder / model
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{datetime.fromtimestamp(at, UTC):{HOUR}}-{self._writer}.{self._number}.jsonl"
        journal = self._journals[model] = _Journal(folder / name, hour)
        self._number += 1
        return journal, self._opened(model, journal, os.O_CREAT)

    def _opened(self, model: str, journal: _Journal, flags: int) -> int:
        if len(self._open) >= MOST_OPEN:
            self._close(next(iter(self._open)))
        journal.descriptor = descriptor = os.open(journal.path, os.O_WRONLY | os.O_APPEND | flags, 0o644)
        self._open[model] = journal
        return descriptor

    def _close(self, model: str) -> None:
        journal = self._open.pop(model, None)
        if journal is not None and journal.descriptor is not None:
            os.close(journal.descriptor)
            journal.descriptor = None

    def disk_error(self) -> str:
        """Return why the folder cannot be written, or an empty text. A server that cannot log must not answer."""
        probe = self._folder / f".{self._writer}.probe"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(bytes(PROBE_BYTES))
            probe.unlink()
        except OSError as error:
            return f"{self._folder} cannot be written: {error.strerror}"
        return ""

    def close(self) -> None:
        with self._lock:
            for model in list(self._open):
                self._close(model)


def _packed(features: np.ndarray) -> str:
    return b64encode(np.ascontiguousarray(features, dtype="<f4")).decode()


def append_whole(descriptor: int, line: bytes) -> None:
    """Append a whole line or nothing to a file that only this process writes.

    Raises:
        OSError: the disk took only a part of the line, or nothing.
    """
    written = os.write(descriptor, line)
    if written != len(line):
        os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
        raise OSError(f"{written} of {len(line)} bytes were written: is the disk full?")
