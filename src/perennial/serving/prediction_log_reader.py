"""Reading of the prediction log as a data frame: sealed segments, here or in object storage, and open journals."""

from __future__ import annotations

import contextlib
import threading
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from perennial.limits import FIRST_MOMENT, LAST_MOMENT
from perennial.serving.evidence.broken import BrokenLines
from perennial.serving.log import sealed
from perennial.serving.log.hours import HOUR, hour_end
from perennial.serving.log.uploaded import uploaded

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from perennial.encryption.keyring import Keyring

PER_REQUEST = (
    "request_id", "version", "digest", "release_id", "capsule", "pool", "shadow", "latency_ms",
)  # fmt: skip
ASSIGNED = ("experiment", "arm", "unit")
"""Columns of a request that is assigned to a variant of an experiment."""
COLUMNS = (
    "prediction_id", "request_id", "at", "model", "version", "digest", "release_id", "capsule", "pool",
    "shadow", "entity", "context", "score", "decision", "latency_ms", *ASSIGNED, "client", "names", "task", "answer",
)  # fmt: skip
TYPES: dict[str, Any] = {
    "at": "datetime64[ns, UTC]", "shadow": bool, "score": float, "decision": "int64", "latency_ms": float,
}  # fmt: skip

NUMBERS = {int, float}


@dataclass
class _Segment:
    """The requests of a file up to a byte offset."""

    offset: int = 0
    requests: list[dict[str, Any]] = field(default_factory=list)


class PredictionLogReader:
    """Reads the files of all servers; an instance parses each byte of a journal once.

    Args:
        keyring: keys of segments that are encrypted in object storage.
    """

    def __init__(self, folder: Path, keyring: Keyring | None = None) -> None:
        self._folder, self._keyring = folder, keyring
        self._segments: dict[Path, _Segment] = {}
        self._lock = threading.Lock()
        self._broken = BrokenLines(folder)

    def read(
        self, model: str, since: datetime | None = None, *, until: datetime | None = None
    ) -> pd.DataFrame:
        """Return the predictions of a model of a time; columns: see `ports.PredictionLog.read`.

        A broken line is skipped, kept aside below the folder and counted, see `take_broken`; so is a file that is no
        segment of the log.
        """
        import pandas as pd

        tables, requests = self._content(model, since, until)
        frames = [sealed.frame_of(table, COLUMNS) for table in tables]
        if requests or not frames:
            frames.append(frame_of(model, requests))
        if len(frames) == 1:
            return frames[0]
        # In a stable order: the rows of a request have the same time, and stay beside each other in their order.
        return pd.concat(frames).sort_values("at", kind="stable", ignore_index=True)

    def timings(self, model: str, since: datetime, *, until: datetime | None = None) -> pd.DataFrame:
        """Return a row per request of a time; columns: see `ports.PredictionLog.timings`."""
        import pandas as pd

        tables, requests = self._content(model, since, until, sealed.TIMED)
        frames = [sealed.timings_of(table) for table in tables]
        if not frames:
            return _timings(requests)
        return pd.concat([*frames, _timings(requests)]).sort_values("at", kind="stable", ignore_index=True)

    def _content(
        self,
        model: str,
        since: datetime | None,
        until: datetime | None,
        columns: Sequence[str] | None = None,
    ) -> tuple[list[pa.Table], list[dict[str, Any]]]:
        """Return the rows of the sealed segments, and the requests of the journals that are not sealed.

        Args:
            columns: columns of the sealed segments; None: all.
        """
        while True:
            # Journals first: one that is sealed in between has its segment by then.
            journals = sorted((self._folder / model).glob("*.jsonl"))
            paths, replaced = sealed.segments(self._folder, model, since, until)
            open_ = [path for path in journals if path.stem not in replaced]
            with contextlib.suppress(FileNotFoundError):  # sealed or merged in between: look again
                requests = self._requests(model, open_, since, until)
                remote = uploaded(self._folder, model, since, replaced, self._keyring)
                needed = [piece for piece in remote if sealed.may_begin_before(until, piece.segment.day)]
                tables = [sealed.read(path, since, columns, until) for path in (*paths, *needed)]
                return [table for table in tables if len(table)], requests

    def _requests(
        self, model: str, journals: Sequence[Path], since: datetime | None, until: datetime | None
    ) -> list[dict[str, Any]]:
        """Return the requests of journals in order of their time."""
        requests: list[dict[str, Any]] = []
        start = since.timestamp() if since is not None else float("-inf")
        stop = until.timestamp() if until is not None else float("inf")
        with self._lock:
            for path in [
                path for path in self._segments if path.parent.name == model and path not in journals
            ]:
                del self._segments[path]  # sealed
            for path in journals:
                end = hour_end(path)
                if end is None:
                    self._broken.keep(path, 0, path.name.encode())
                    continue
                if since is not None and end <= since:
                    self._segments.pop(path, None)  # free the memory: later calls rarely go further back
                    continue
                if until is not None and end - 2 * HOUR >= until:
                    continue  # an hour later than needed: a request is logged moments after its time
                segment = self._segment(path)
                requests.extend(request for request in segment.requests if start <= request["at"] < stop)
        requests.sort(key=lambda request: request["at"])
        return requests

    def _segment(self, path: Path) -> _Segment:
        segment = self._segments.setdefault(path, _Segment())
        with path.open("rb") as file:
            file.seek(segment.offset)
            new = file.read()
        complete = new.rfind(b"\n") + 1  # the rest is a line that is being written, or torn
        start = segment.offset
        for line in new[:complete].splitlines(keepends=True):
            request = request_of(line)
            if request is not None:
                segment.requests.append(request)
            elif line.strip():
                self._broken.keep(path, start, line)
            start += len(line)
        segment.offset += complete
        return segment

    def take_broken(self, model: str) -> int:
        """Return how many broken lines were skipped since the last call."""
        return self._broken.take(model)


def request_of(line: bytes) -> dict[str, Any] | None:
    """Return the request of a line; None if the line is damaged or a part of it is missing."""
    try:
        request = orjson.loads(line)
        rows = len(request["ids"])
        if isinstance(request["features"], str):
            packed = np.frombuffer(b64decode(request["features"], validate=True), dtype="<f4")
            request["features"] = packed.reshape(rows, len(request["names"]))
        complete = (
            isinstance(request["at"], float | int)
            and FIRST_MOMENT <= request["at"] <= LAST_MOMENT
            and all(name in request for name in (*PER_REQUEST, "context"))
            and type(request["latency_ms"]) in NUMBERS
            and all(len(request[name]) == rows for name in ("entities", "scores", "decisions", "features"))
            and len(request.get("probabilities") or request["ids"]) == rows
            and {*map(type, request["scores"]), *map(type, request["decisions"])} <= NUMBERS
            and (
                isinstance(request["features"], np.ndarray)
                or _are_rows(request["features"], request["names"])
            )
        )
        return request if complete else None
    except (KeyError, TypeError, ValueError):
        return None


def _are_rows(features: list[Any], names: list[str]) -> bool:
    return all(len(row) == len(names) and NUMBERS | {type(None)} >= set(map(type, row)) for row in features)


def _timings(requests: list[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    frame = pd.DataFrame(
        {name: [request[name] for request in requests] for name in ("request_id", "digest", "latency_ms")}
    )
    frame["shadow"] = np.array([request["shadow"] for request in requests], dtype=bool)
    frame["at"] = _times(requests)
    frame["rows"] = np.array([len(request["ids"]) for request in requests], dtype="int64")
    entities = [request["entities"] for request in requests]
    frame["by_entity"] = np.array([any(entity is not None for entity in of) for of in entities], dtype=bool)
    frame["client"] = [request.get("client") or "" for request in requests]
    return frame


def _times(requests: list[dict[str, Any]]) -> Any:
    """Return the times to the microsecond, which is what the servers' clock has and a sealed segment keeps."""
    import pandas as pd

    micros = np.rint(np.array([request["at"] for request in requests], dtype=float) * 1e6).astype("int64")
    return pd.to_datetime(micros, unit="us", utc=True).as_unit("ns")


def frame_of(model: str, requests: list[dict[str, Any]]) -> pd.DataFrame:
    """Return a row per prediction. Versions may have different features: absent features are NaN."""
    import pandas as pd

    if not requests:
        return pd.DataFrame({name: pd.Series(dtype=object) for name in COLUMNS}).astype(TYPES)
    counts = np.array([len(request["ids"]) for request in requests])

    def per_row(values: list[Any]) -> np.ndarray:
        return np.repeat(np.array(values, dtype=object), counts)

    def flat(name: str) -> list[Any]:
        return [value for request in requests for value in request[name]]

    columns: dict[str, Any] = {name: per_row([request[name] for request in requests]) for name in PER_REQUEST}
    for name in (*ASSIGNED, "client"):
        columns[name] = per_row([request.get(name) for request in requests])
    for name in ("context", "names"):
        columns[name] = per_row([orjson.dumps(request[name]).decode() for request in requests])
    # Empty for a prediction from before kinds of task.
    columns["task"] = per_row(
        [orjson.dumps(request["task"]).decode() if "task" in request else "" for request in requests]
    )
    # None where the score is the whole answer.
    columns["answer"] = [
        answer
        for request in requests
        for answer in request.get("probabilities") or [None] * len(request["ids"])
    ]
    columns["prediction_id"] = flat("ids")
    columns["model"] = model
    columns["at"] = np.repeat(_times(requests), counts)
    columns["entity"] = [orjson.dumps(entity or {}).decode() for entity in flat("entities")]
    columns["score"] = np.array(flat("scores"), dtype=float)
    columns["decision"] = np.array(flat("decisions"), dtype="int64")
    frame = pd.DataFrame(columns)[list(COLUMNS)].astype({"shadow": bool, "latency_ms": float})
    return pd.concat([frame, _features(requests, pd)], axis=1)


def _features(requests: list[dict[str, Any]], pd: Any) -> pd.DataFrame:
    """Return the feature columns, converted once per run of requests with the same feature names."""
    blocks = []
    start = 0
    for end in range(1, len(requests) + 1):
        if end == len(requests) or requests[end]["names"] != requests[start]["names"]:
            names = requests[start]["names"]
            # JSON has no NaN: a missing value is null in the file, and NumPy turns None into NaN. float32, as the
            # model got it and as a sealed segment keeps it.
            rows = [np.array(request["features"], dtype=np.float32) for request in requests[start:end]]
            values = np.concatenate(rows).astype(float)
            blocks.append(pd.DataFrame(values, columns=[f"feature:{name}" for name in names]))
            start = end
    return pd.concat(blocks, ignore_index=True)
