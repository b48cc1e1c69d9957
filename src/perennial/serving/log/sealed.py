"""Sealed segments of the prediction log: `<folder>/<model>/day=<date>/<name>.parquet`, a row per prediction.

A segment has the name of the journal that it was made of. One that was made of other segments is `merged-...`, and its
metadata names them: where a crash left both, readers leave out what is replaced.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

if TYPE_CHECKING:
    import pandas as pd

    from perennial.serving.log.uploaded import RemoteSegment

DAY = "day="
MERGED = "merged-"
FEATURE = "feature:"
REPLACES = b"perennial.replaces"
REQUEST = "request"
"""Column with the number of the request in its segment; rows of a request follow each other."""
ROW_GROUP = 65_536
"""Rows of a row group; a look-up by id reads only the groups whose ids are around it, since ids begin with the time."""
_TEXT, _NUMBER = pa.string(), pa.float64()
SCHEMA: dict[str, pa.DataType] = {
    "prediction_id": _TEXT, "request_id": _TEXT, "at": pa.timestamp("us", "UTC"), "model": _TEXT,
    "version": _TEXT, "digest": _TEXT, "release_id": _TEXT, "capsule": _TEXT, "pool": _TEXT, "shadow": pa.bool_(),
    "entity": _TEXT, "context": _TEXT, "score": _NUMBER, "decision": pa.int64(), "latency_ms": _NUMBER,
    "experiment": _TEXT, "arm": _TEXT, "unit": _TEXT, "client": _TEXT, "names": _TEXT, "task": _TEXT,
    "answer": pa.list_(_NUMBER), REQUEST: pa.int64(),
}  # fmt: skip
"""Columns and types of every segment; a column `feature:<name>` (float32, as the model got it) follows for each feature
of its versions, null where the value is missing or the version has no such feature."""


def table_of(frame: pd.DataFrame, request: np.ndarray) -> pa.Table:
    """Return the table of a frame with the columns of `ports.PredictionLog.read`.

    Args:
        request: int64 [rows], number of the request of each row.
    """
    columns = {**frame.to_dict("series"), REQUEST: request}
    features = {name: pa.float32() for name in frame.columns if name.startswith(FEATURE)}
    schema = pa.schema([pa.field(name, kind) for name, kind in {**SCHEMA, **features}.items()])
    return pa.table(
        {
            name: pa.array(columns[name], type=schema.field(name).type, from_pandas=True)
            for name in schema.names
        },
        schema=schema,
    )


def write(table: pa.Table, path: Path, replaces: Iterable[str] = ()) -> None:
    """Write a segment; it appears as a whole.

    Args:
        replaces: names, without suffix, of the segments whose rows it has.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with pq.ParquetWriter(partial, table.schema, compression="zstd", store_schema=False) as writer:
        writer.write_table(table, row_group_size=ROW_GROUP)
        writer.add_key_value_metadata({REPLACES: json.dumps(sorted(replaces)).encode()})
    with partial.open("rb") as file:
        os.fsync(file.fileno())  # what it replaces is deleted next
    partial.replace(path)


def replaced_by(path: Path) -> set[str]:
    """Return the names of the segments that a merged segment replaces."""
    return set(json.loads((pq.read_metadata(path).metadata or {}).get(REPLACES, b"[]")))


def shape_of(path: Path) -> tuple[int, int]:
    """Return the numbers of rows and columns of a segment."""
    metadata = pq.read_metadata(path)
    return int(metadata.num_rows), int(metadata.num_columns)


def frame_of(table: pa.Table, columns: Collection[str]) -> pd.DataFrame:
    """Return the rows as `ports.PredictionLog.read` describes them.

    Args:
        columns: those before the features, in order.
    """
    frame = table.drop_columns(["answer", REQUEST]).to_pandas()
    frame["at"] = frame["at"].astype("datetime64[ns, UTC]")
    frame["answer"] = np.fromiter(table["answer"].to_pylist(), dtype=object, count=len(frame))
    features = [name for name in frame.columns if name.startswith(FEATURE)]
    return frame[[*columns, *features]].astype(dict.fromkeys(features, float))


def timings_of(table: pa.Table) -> pd.DataFrame:
    """Return a row per request as `ports.PredictionLog.timings` describes it."""
    frame = table.to_pandas()
    first = np.flatnonzero(np.diff(frame[REQUEST], prepend=-1))
    known = frame["entity"].to_numpy() != "{}"
    requests = frame.iloc[first][["request_id", "digest", "latency_ms", "shadow", "at", "client"]]
    requests = requests.reset_index(drop=True)
    requests["at"] = requests["at"].astype("datetime64[ns, UTC]")
    requests["client"] = requests["client"].fillna("")
    requests["rows"] = np.diff(first, append=len(frame))
    requests["by_entity"] = np.logical_or.reduceat(known, first) if len(first) else known
    return requests


TIMED = ("request_id", "digest", "latency_ms", "shadow", "at", "client", "entity", REQUEST)
"""Columns that `timings_of` needs."""


def segments(
    folder: Path, model: str, since: datetime | None = None, until: datetime | None = None
) -> tuple[list[Path], set[str]]:
    """Return the segments of a model that may have rows of a time, and the names of journals they replace."""
    paths, replaced = [], set()
    for path in sorted((folder / model).glob(f"{DAY}*/*.parquet")):
        day = day_of(path)
        # A request may be logged moments after the hour, and so the day, by which its journal is named.
        if day is not None and (since is None or day + timedelta(days=1) >= since.date()):
            paths.append(path)
            if path.name.startswith(MERGED):
                replaced |= replaced_by(path)
    kept = [path for path in paths if path.stem not in replaced]
    needed = [path for path in kept if may_begin_before(until, day_of(path))]
    return needed, replaced | {path.stem for path in kept}


def may_begin_before(until: datetime | None, day: date | None) -> bool:
    """Return whether a segment of a day may have rows before `until`, also one that was named moments later."""
    return until is None or day is None or day <= until.date()


def day_of(path: Path) -> date | None:
    """Return the day of a segment; None for a folder with another name."""
    try:
        return date.fromisoformat(path.parent.name.removeprefix(DAY))
    except ValueError:
        return None


def read(
    path: Path | RemoteSegment,
    since: datetime | None,
    columns: Sequence[str] | None = None,
    until: datetime | None = None,
) -> pa.Table:
    """Return the rows of a segment at or after `since` and before `until`."""
    bounds = [(">=", since), ("<", until)]
    chosen: Any = [("at", operator, bound) for operator, bound in bounds if bound is not None] or None
    wanted = None if columns is None else list(columns)
    return _table(path, wanted, chosen)


def pieces(path: Path | RemoteSegment, since: datetime) -> Iterator[pa.Table]:
    """Yield the rows of a segment at or after `since`, at most ROW_GROUP of them at once."""
    with contextlib.nullcontext(path) if isinstance(path, Path) else path.open() as source:
        for batch in pq.ParquetFile(source).iter_batches(batch_size=ROW_GROUP):
            table = pa.Table.from_batches([batch])
            table = table.filter(pc.field("at") >= pa.scalar(since, SCHEMA["at"]))
            if len(table):
                yield table


def find(path: Path | RemoteSegment, ids: Sequence[str]) -> list[tuple[str, str]]:
    """Return id and task (JSON) of those predictions of a segment that were answered to somebody."""
    chosen = [("prediction_id", "in", list(ids)), ("shadow", "=", False)]
    rows = _table(path, ["prediction_id", "task"], chosen)
    return list(zip(rows["prediction_id"].to_pylist(), rows["task"].to_pylist(), strict=True))


def newest(path: Path, most: int) -> list[dict[str, Any]]:
    """Return the last rows of a segment as the lines of a journal have them: at, entities, context, features."""
    file = pq.ParquetFile(path)
    table = file.read_row_group(file.num_row_groups - 1)
    table = table.slice(max(0, len(table) - most))
    features = [name for name in table.column_names if name.startswith(FEATURE)]
    return [
        {
            "at": row["at"].timestamp(),
            "entities": [json.loads(row["entity"]) or None],
            "context": json.loads(row["context"]),
            "features": [[row[name] for name in features]],
        }
        for row in table.select(["at", "entity", "context", *features]).to_pylist()
    ]


def _table(path: Path | RemoteSegment, columns: list[str] | None, filters: Any) -> pa.Table:
    if isinstance(path, Path):
        return pq.read_table(path, columns=columns, filters=filters, partitioning=None)
    with path.open() as file:
        return pq.read_table(file, columns=columns, filters=filters, partitioning=None)
