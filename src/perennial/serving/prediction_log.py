"""The prediction log: what the model servers answered, with the feature values they used.

JSON lines under `<folder>/<model>/<hour>-<writer>.jsonl`: one file per server process and hour, one line
per request. A line is appended by a single `write` before the answer is sent, so that a killed
server loses no answered request; at most its last line is torn.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from perennial.errors import MalformedInput
from perennial.serving.assignment import Assigned

if TYPE_CHECKING:
    import pandas as pd

    from perennial.serving.session import LoadedVersion

HOUR = "%Y%m%dT%H"
PROBE_BYTES = 4096
COLUMNS = (
    "prediction_id", "request_id", "at", "model", "version", "digest", "release_id", "capsule", "pool",
    "shadow", "entity", "context", "score", "decision", "latency_ms", "experiment", "arm", "unit",
    "names",
)  # fmt: skip


def new_ids(count: int, at: datetime, entropy: bytes) -> list[str]:
    """Prediction ids: 48 bits of milliseconds and 80 random bits as hex, so they sort by time.

    Args:
        entropy: 10 random bytes per id.
    """
    stamp = int(at.timestamp() * 1000).to_bytes(6, "big").hex()
    return [stamp + entropy[10 * i : 10 * i + 10].hex() for i in range(count)]


@dataclass(frozen=True)
class AnsweredRequest:
    """One request that a version answered."""

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
    """float32 [n]."""
    decisions: Sequence[int]
    context: dict[str, Any] = field(default_factory=dict)
    """Request values, as the features were asked for with: what brings them back later."""
    assigned: Assigned | None = None


class PredictionLogWriter:
    """Appends from one process; the files of an hour are opened at its first request.

    Args:
        writer: names this process for all time (a process id alone comes back after a restart, and would
            append to what a killed one left torn).
    """

    def __init__(self, folder: Path, pool: str, writer: str) -> None:
        self._folder = folder
        self._pool = pool
        self._writer = writer
        self._open: dict[str, tuple[str, int]] = {}
        self._lock = threading.Lock()

    def append(self, answered: AnsweredRequest) -> None:
        """Write one request; OSError (disk full, for one) is the caller's: an unlogged answer is none."""
        wanted = answered.version.wanted
        line = orjson.dumps(
            {
                "at": answered.at.timestamp(),
                "request_id": answered.request_id,
                "version": wanted.version,
                "digest": wanted.digest,
                "release_id": answered.release_id,
                "capsule": wanted.capsule,
                "pool": self._pool,
                "shadow": answered.shadow,
                "latency_ms": round(answered.latency_ms, 3),
                "names": answered.version.manifest.features,
                "ids": answered.ids,
                "entities": answered.entities,
                "context": answered.context,
                "scores": answered.scores,
                "decisions": answered.decisions,
                "features": answered.features,
                **(vars(answered.assigned) if answered.assigned is not None else {}),
            },
            option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE,
        )
        with self._lock:
            descriptor = self._descriptor(wanted.model, answered.at)
            append_whole(descriptor, line)

    def _descriptor(self, model: str, at: datetime) -> int:
        hour = at.astimezone(UTC).strftime(HOUR)
        known = self._open.get(model)
        if known is not None and known[0] == hour:
            return known[1]
        if known is not None:
            os.close(known[1])
        folder = self._folder / model
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{hour}-{self._writer}.jsonl"
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._open[model] = (hour, descriptor)
        return descriptor

    def disk_error(self) -> str:
        """Why nothing can be written here; empty when it can. A server that cannot log must not answer."""
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
            for _, descriptor in self._open.values():
                os.close(descriptor)
            self._open.clear()


def append_whole(descriptor: int, line: bytes) -> None:
    """Append to a file that only this process writes: the whole line or nothing.

    Raises:
        OSError: the disk took only a part, or nothing.
    """
    before = os.fstat(descriptor).st_size
    written = os.write(descriptor, line)
    if written != len(line):
        os.ftruncate(descriptor, before)
        raise OSError(f"{written} of {len(line)} bytes were written: is the disk full?")


@dataclass
class _Segment:
    """How far one file was read, and what was found there."""

    offset: int = 0
    requests: list[dict[str, Any]] = field(default_factory=list)


class PredictionLogReader:
    """Reads what all servers wrote; each instance parses a byte of the log once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._segments: dict[Path, _Segment] = {}
        self._lock = threading.Lock()

    def read(self, model: str, since: datetime | None = None) -> pd.DataFrame:
        """All predictions of a model at or after `since`; columns as `ports.PredictionLog.read` says.

        Raises:
            MalformedInput: a line other than the last of its file is not JSON.
        """
        requests: list[dict[str, Any]] = []
        start = since.timestamp() if since is not None else float("-inf")
        with self._lock:
            for path in sorted((self._folder / model).glob("*.jsonl")):
                if since is not None and _hour_end(path) <= since:
                    self._segments.pop(path, None)  # who asks for the newest only keeps the newest only
                    continue
                requests.extend(one for one in self._segment(path).requests if one["at"] >= start)
        requests.sort(key=lambda one: one["at"])
        return _frame(model, requests)

    def _segment(self, path: Path) -> _Segment:
        segment = self._segments.setdefault(path, _Segment())
        with path.open("rb") as file:
            file.seek(segment.offset)
            new = file.read()
        complete = new.rfind(b"\n") + 1  # what follows is a line that is being written, or torn
        for line in new[:complete].splitlines():
            if not line:
                continue
            try:
                segment.requests.append(orjson.loads(line))
            except orjson.JSONDecodeError as error:
                raise MalformedInput(
                    f"{path}: a line after byte {segment.offset} is not JSON: {error}",
                    hint="the file was changed by hand or the disk was full; move it out of the folder",
                ) from error
        segment.offset += complete
        return segment


def _hour_end(path: Path) -> datetime:
    try:
        hour = datetime.strptime(path.name.split("-", 1)[0], HOUR).replace(tzinfo=UTC)
    except ValueError as error:
        raise MalformedInput(
            f"{path} is no segment of the prediction log", hint="move it out of the folder"
        ) from error
    return hour + timedelta(hours=1)


def _frame(model: str, requests: list[dict[str, Any]]) -> pd.DataFrame:
    """Requests -> one row per prediction. Versions may differ in their features: absent ones are NaN."""
    import pandas as pd

    if not requests:
        empty = pd.DataFrame({name: pd.Series(dtype=object) for name in COLUMNS})
        return empty.astype(
            {
                "at": "datetime64[ns, UTC]",
                "shadow": bool,
                "score": float,
                "decision": "int64",
                "latency_ms": float,
            }
        )
    counts = np.array([len(one["ids"]) for one in requests])
    columns: dict[str, Any] = {"prediction_id": [one for request in requests for one in request["ids"]]}
    for name in ("request_id", "version", "digest", "release_id", "capsule", "pool", "shadow", "latency_ms"):
        columns[name] = np.repeat(np.array([one[name] for one in requests], dtype=object), counts)
    for name in ("experiment", "arm", "unit"):  # of a request that was assigned to a side of a split
        columns[name] = np.repeat(np.array([one.get(name) for one in requests], dtype=object), counts)
    columns["model"] = model
    columns["at"] = pd.to_datetime(np.repeat([one["at"] for one in requests], counts), unit="s", utc=True)
    columns["entity"] = [
        orjson.dumps(one or {}).decode() for request in requests for one in request["entities"]
    ]
    # Lines written before the context was kept have none.
    contexts = [orjson.dumps(one.get("context", {})).decode() for one in requests]
    columns["context"] = np.repeat(np.array(contexts, dtype=object), counts)
    names = [orjson.dumps(one["names"]).decode() for one in requests]
    columns["names"] = np.repeat(np.array(names, dtype=object), counts)
    columns["score"] = np.array([one for request in requests for one in request["scores"]], dtype=float)
    columns["decision"] = np.array(
        [one for request in requests for one in request["decisions"]], dtype="int64"
    )
    frame = pd.DataFrame(columns)[list(COLUMNS)].astype({"shadow": bool, "latency_ms": float})
    return pd.concat([frame, _features(requests, pd)], axis=1)


def _features(requests: list[dict[str, Any]], pd: Any) -> pd.DataFrame:
    """One block per run of requests with the same names: one conversion each instead of one per row."""
    blocks = []
    start = 0
    for end in range(1, len(requests) + 1):
        if end == len(requests) or requests[end]["names"] != requests[start]["names"]:
            names = requests[start]["names"]
            rows = [row for request in requests[start:end] for row in request["features"]]
            # JSON has no NaN: a missing value was written as null and comes back as None.
            values = np.array(rows, dtype=float).reshape(len(rows), len(names))
            blocks.append(pd.DataFrame(values, columns=[f"feature:{name}" for name in names]))
            start = end
    return pd.concat(blocks, ignore_index=True)
