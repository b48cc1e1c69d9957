"""Reading of the prediction log as a data frame."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from perennial.errors import MalformedInput
from perennial.serving.prediction_log import HOUR

if TYPE_CHECKING:
    import pandas as pd

PER_REQUEST = (
    "request_id", "version", "digest", "release_id", "capsule", "pool", "shadow", "latency_ms",
)  # fmt: skip
ASSIGNED = ("experiment", "arm", "unit")
"""Columns of a request that is assigned to a variant of an experiment."""
COLUMNS = (
    "prediction_id", "request_id", "at", "model", "version", "digest", "release_id", "capsule", "pool",
    "shadow", "entity", "context", "score", "decision", "latency_ms", *ASSIGNED, "names",
)  # fmt: skip
TYPES: dict[str, Any] = {
    "at": "datetime64[ns, UTC]", "shadow": bool, "score": float, "decision": "int64", "latency_ms": float,
}  # fmt: skip


@dataclass
class _Segment:
    """The requests of a file up to a byte offset."""

    offset: int = 0
    requests: list[dict[str, Any]] = field(default_factory=list)


class PredictionLogReader:
    """Reads the files of all servers; an instance parses each byte of the log once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._segments: dict[Path, _Segment] = {}
        self._lock = threading.Lock()

    def read(self, model: str, since: datetime | None = None) -> pd.DataFrame:
        """Return all predictions of a model at or after `since`; columns: see `ports.PredictionLog.read`.

        Raises:
            MalformedInput: a line other than the last line of its file is not JSON.
        """
        requests: list[dict[str, Any]] = []
        start = since.timestamp() if since is not None else float("-inf")
        with self._lock:
            for path in sorted((self._folder / model).glob("*.jsonl")):
                if since is not None and _hour_end(path) <= since:
                    self._segments.pop(path, None)  # free the memory: later calls rarely go further back
                    continue
                segment = self._segment(path)
                requests.extend(request for request in segment.requests if request["at"] >= start)
        requests.sort(key=lambda request: request["at"])
        return _frame(model, requests)

    def _segment(self, path: Path) -> _Segment:
        segment = self._segments.setdefault(path, _Segment())
        with path.open("rb") as file:
            file.seek(segment.offset)
            new = file.read()
        complete = new.rfind(b"\n") + 1  # the rest is a line that is being written, or torn
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
    for name in ASSIGNED:
        columns[name] = per_row([request.get(name) for request in requests])
    for name in ("context", "names"):
        columns[name] = per_row([orjson.dumps(request[name]).decode() for request in requests])
    columns["prediction_id"] = flat("ids")
    columns["model"] = model
    columns["at"] = pd.to_datetime(
        np.repeat([request["at"] for request in requests], counts), unit="s", utc=True
    )
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
            rows = [row for request in requests[start:end] for row in request["features"]]
            # JSON has no NaN: a missing value is null in the file, and NumPy turns None into NaN.
            values = np.array(rows, dtype=float).reshape(len(rows), len(names))
            blocks.append(pd.DataFrame(values, columns=[f"feature:{name}" for name in names]))
            start = end
    return pd.concat(blocks, ignore_index=True)
