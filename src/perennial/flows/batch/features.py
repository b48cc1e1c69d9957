"""Features of a batch by entity: the newest of the online store, or those that were known at a time of each row."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from perennial import limits
from perennial.core.input_encoding import Column, Distinct, Fault, faults, where
from perennial.core.input_spec import InputKind, InputSpec
from perennial.errors import FeaturesUnavailable, UsageError
from perennial.flows.training.tables import plain_values

if TYPE_CHECKING:
    import pandas as pd

    from perennial.core.feature_spec import FeatureSpec
    from perennial.ports import Features
    from perennial.ports.batch import BatchChunk, BatchRows, FeatureJoin
    from perennial.serving.entities import OnlineValues

KINDS = {
    "int": InputKind.INT,
    "float": InputKind.FLOAT,
    "string": InputKind.CATEGORY,
    "timestamp": InputKind.TIMESTAMP,
}
"""Type of the column of a request value."""
Joined = tuple[dict[str, Column], tuple[Fault, ...]]


class JoinedRows:
    """The BatchRows port over other rows, with the features of each joined."""

    def __init__(self, rows: BatchRows, join: FeatureJoin) -> None:
        self._rows = rows
        self._join = join
        self.copied = rows.copied

    def revision(self) -> str:
        return self._rows.revision()

    def count(self) -> int | None:
        return self._rows.count()

    def chunks(self, size: int, skip: Collection[int]) -> Iterator[BatchChunk]:
        for chunk in self._rows.chunks(size, skip):
            yield chunk.with_columns(*self._join(chunk.columns(), len(chunk)))


class NewestFeatures:
    """The FeatureJoin port over the online store: the values that a request now would be answered with.

    Args:
        features: of the version.
    """

    words = "newest"

    def __init__(self, features: FeatureSpec, values: OnlineValues) -> None:
        self._features = features
        self._values = values
        self.asked = asked_columns(features)

    def __call__(self, columns: Mapping[str, Column], rows: int) -> Joined:
        wanted = self._features
        refused = key_faults(wanted, columns, rows)
        kept = _left(rows, refused)
        keys = {name: columns[name] for name in (*wanted.entities, *wanted.request)}
        stored: dict[str, list[Any]] = {name: [None] * rows for name in wanted.stored}
        for start in range(0, len(kept), limits.ROWS):
            places = kept[start : start + limits.ROWS]
            given = {
                name: _sent(where(column, places), wanted.request.get(name)) for name, column in keys.items()
            }
            read = self._values.columns(wanted.service or "", given)
            lacking = [name for name in stored if name not in read.columns]
            if lacking and len(read.unknown) < len(places):
                raise FeaturesUnavailable(
                    f"the feature service {wanted.service} lacks {', '.join(lacking)}",
                    hint="publish features for this model's service",
                )
            for place, row in enumerate(places.tolist()):
                if place in read.unknown:
                    key = str(given[wanted.entities[0]][place])
                    refused[row] = Fault(row, wanted.entities[0], key, "no features are known for it")
                    continue
                for name, values in stored.items():
                    values[row] = read.columns[name][place]
        return _with_sent(wanted, stored, columns), tuple(refused.values())


class FeaturesAsOf:
    """The FeatureJoin port over the history: the values of a training, known at the time in a column of each row.

    What was not known then is a missing value, as in training; a key of which nothing is known at any time is refused.

    Args:
        features: of the version.
        views: tables of the feature views.
        column: column with the time of each row.
    """

    def __init__(
        self, features: FeatureSpec, store: Features, views: Mapping[str, pd.DataFrame], column: str
    ) -> None:
        self._features = features
        self._store = store
        self._views = views
        self._column = column
        self.asked = {**asked_columns(features), column: InputKind.TIMESTAMP}
        self.words = f"as of {column}, of the tables {_digest(views)[:12]}"
        self._known = {
            name: {str(key) for table in tables for key in table[name].dropna().unique()}
            for name in features.entities
            if (tables := [table for table in views.values() if name in table])
        }

    def __call__(self, columns: Mapping[str, Column], rows: int) -> Joined:
        import pandas as pd

        wanted = self._features
        refused = key_faults(wanted, columns, rows, self._column)
        for name, known in self._known.items():
            for row, key in enumerate(_texts(columns[name])):
                if row not in refused and str(key) not in known:
                    refused[row] = Fault(row, name, str(key), "nothing is known of it at any time")
        kept = _left(rows, refused)
        kinds = dict.fromkeys(wanted.entities) | wanted.request
        frame = pd.DataFrame(
            {
                name: _times(given) if kind == "timestamp" else _sent(given, kind)
                for name, kind in kinds.items()
                for given in (where(columns[name], kept),)
            }
        )
        frame["event_timestamp"] = _times(where(columns[self._column], kept))
        stored: dict[str, list[Any]] = {name: [None] * rows for name in wanted.stored}
        if len(kept):
            joined = self._store.join(wanted, frame, self._views)
            for name, values in stored.items():
                for row, value in zip(kept.tolist(), plain_values(joined[name]).tolist(), strict=True):
                    values[row] = value
        return _with_sent(wanted, stored, columns), tuple(refused.values())


def require_time(features: FeatureSpec, column: str) -> None:
    """Refuse as the time of each row a column that is a key or another input.

    Raises:
        UsageError: it is one.
    """
    if asked_columns(features).get(column, InputKind.TIMESTAMP) is not InputKind.TIMESTAMP:
        raise UsageError(
            f"--as-of: {column} is a key or an input of the model, and no time",
            hint="name the column with the time of each row",
        )


def asked_columns(features: FeatureSpec) -> dict[str, InputKind]:
    """Return the columns that the input must have: entity keys, request values, and what a caller sends besides."""
    asked = dict.fromkeys(features.entities, InputKind.CATEGORY)
    asked |= {name: KINDS[kind] for name, kind in features.request.items()}
    return asked | {name: features.inputs[name].type for name in features.sent}


def key_faults(
    features: FeatureSpec, columns: Mapping[str, Column], rows: int, time: str | None = None
) -> dict[int, Fault]:
    """Return the first missing or wrong key, request value or time of each row, by row."""
    kinds = {name: KINDS[kind] for name, kind in features.request.items()}
    if time is not None:
        kinds[time] = InputKind.TIMESTAMP
    first: dict[int, Fault] = {}
    for name in (*features.entities, *(name for name, kind in kinds.items() if kind is InputKind.CATEGORY)):
        for row, value in enumerate(_texts(columns[name])):
            if value is None or value == "":
                first.setdefault(row, Fault(row, name, "", "a value is needed"))
    typed = {
        name: InputSpec(type=kind, missing="refuse")
        for name, kind in kinds.items()
        if kind is not InputKind.CATEGORY
    }
    for fault in faults(typed, columns, rows):
        first.setdefault(fault.row, fault)
    for name, spec in typed.items():
        is_time = spec.type is InputKind.TIMESTAMP
        low, high = (
            (limits.FIRST_MOMENT, limits.LAST_MOMENT)
            if is_time
            else (-limits.LARGEST_VALUE, limits.LARGEST_VALUE)
        )
        reason = (
            "a time must be from 1970 to 2099" if is_time else f"it must be at most {limits.LARGEST_VALUE:g}"
        )
        left = _left(rows, first)
        given = where(columns[name], left)
        numbers = np.array(_sent(given, "timestamp" if is_time else None), dtype=np.float64)
        for place in np.flatnonzero((numbers < low) | (numbers > high)).tolist():
            row = int(left[place])
            first[row] = Fault(row, name, str(_texts(given)[place]), reason)
    return first


def _left(rows: int, refused: Mapping[int, Fault]) -> np.ndarray:
    return np.delete(np.arange(rows), list(refused))


def _texts(column: Column) -> Sequence[Any]:
    if isinstance(column, Distinct):
        return [column.values[place] for place in column.places.tolist()]
    return column.tolist() if isinstance(column, np.ndarray) else column


def _times(column: Column) -> pd.Series[Any]:
    import pandas as pd

    return pd.Series(pd.to_datetime(np.asarray(column), utc=True)).astype("datetime64[ns, UTC]")


def _sent(column: Column, kind: str | None) -> list[Any]:
    """Return values as a request sends them: a time in seconds since 1970."""
    if kind == "timestamp":
        microseconds = np.asarray(column, dtype="datetime64[us]").astype(np.int64)
        return [value / 1e6 for value in microseconds.tolist()]
    values = list(_texts(column))
    return [int(value) for value in values] if kind == "int" else values


def _with_sent(
    features: FeatureSpec, stored: Mapping[str, Sequence[Any]], columns: Mapping[str, Column]
) -> dict[str, Column]:
    """Return the inputs of the model: plain numbers as float64, typed values as they are."""
    plain: dict[str, Column] = {
        name: values if name in features.inputs else np.array(values, dtype=np.float64)
        for name, values in stored.items()
    }
    return plain | {name: columns[name] for name in features.sent}


def _digest(views: Mapping[str, pd.DataFrame]) -> str:
    import pandas as pd

    digest = hashlib.sha256()
    for name in sorted(views):
        texts = views[name].astype(str)
        digest.update(f"{name}:{list(texts.columns)}".encode())
        digest.update(pd.util.hash_pandas_object(texts, index=False).to_numpy().tobytes())
    return digest.hexdigest()


OpenJoin = Callable[["FeatureSpec"], "FeatureJoin"]
