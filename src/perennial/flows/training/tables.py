"""Examples from a table: a row per example, with the group that the split keeps together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from perennial.core.data_spec import RowsSpec, Split
from perennial.core.feature_spec import FeatureSpec
from perennial.core.input_encoding import encode
from perennial.core.input_spec import InputKind, columns_of
from perennial.core.spec import ModelSpec
from perennial.core.training.table_split import buckets, periods
from perennial.errors import MalformedInput, SpecError
from perennial.flows.training.series import window_examples

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TableExamples:
    """The examples of a table, which has no feature tables."""

    examples: pd.DataFrame
    views: Mapping[str, pd.DataFrame] = field(default_factory=dict)


def table_examples(
    spec: ModelSpec,
    source: RowsSpec,
    table: pd.DataFrame,
    views: Callable[[], Mapping[str, pd.DataFrame]] = dict,
) -> TableExamples:
    """Return the rows of a table with the column `evaluation.group`, in the order of the groups.

    With stored features, the rows also have their time as `event_timestamp`.

    Args:
        views: reads the tables of the feature views.

    Raises:
        MalformedInput: a row has no time, or a group column is missing; names row and column.
        SpecError: the table has a column of the name `evaluation.group`.
    """
    name = spec.evaluation.group
    if name in table:
        raise SpecError(
            f"{spec.name}: evaluation.group {name!r} is a column of the table",
            hint="name the groups by a word that is no column",
        )
    if source.unlabelled == "drop":
        table = labelled(table, spec.target.column)
    if spec.task.windows is not None:
        return TableExamples(window_examples(spec, source, table, spec.task.windows))
    groups = _groups(spec, source, table)
    more = {} if spec.features.source == "request" else {"event_timestamp": table[source.time or ""]}
    rows = table.assign(**{name: groups}, **more)
    return TableExamples(rows.sort_values(name, kind="stable").reset_index(drop=True), views())


def column_types(spec: ModelSpec, source: RowsSpec) -> dict[str, InputKind]:
    """Return the columns that a training reads, with their types: inputs, target, key, time and group."""
    if spec.task.windows is not None:
        series = {} if source.group is None else {source.group: InputKind.CATEGORY}
        return {source.time or "": InputKind.TIMESTAMP, spec.target.column: InputKind.FLOAT, **series}
    types = {name: spec.features.inputs[name].type for name in spec.features.sent}
    types |= dict.fromkeys(spec.features.entities, InputKind.CATEGORY)
    types.setdefault(spec.target.column, label_type(spec))
    if source.time is not None:
        types.setdefault(source.time, InputKind.INT if source.period is None else InputKind.TIMESTAMP)
    for name in (source.key, source.group):
        if name is not None:
            types.setdefault(name, InputKind.CATEGORY)
    for name in spec.data.sensitive:
        types.setdefault(name, InputKind.CATEGORY)
    return types


def label_type(spec: ModelSpec) -> InputKind:
    """Return the type of the target column, which its labels in the spec have."""
    labels = spec.task.labels
    if any(isinstance(label, str) for label in labels):
        return InputKind.CATEGORY
    if labels and all(isinstance(label, bool) for label in labels):
        return InputKind.BOOL
    is_whole = bool(labels) and all(isinstance(label, int) for label in labels)
    return InputKind.INT if is_whole else InputKind.FLOAT


def encoded(features: FeatureSpec, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the typed inputs of `rows` as the numbers that a model gets: a float32 column per input.

    Raises:
        MalformedInput: an input or a value is missing, unknown or of another type; names row and column.
    """
    import pandas as pd

    columns = {name: plain_values(rows[name]) for name in features.inputs if name in rows}
    return pd.DataFrame(
        encode(features.inputs, columns, len(rows)),
        columns=list(columns_of(features.inputs)),
        index=rows.index,
    )


def elements(column: pd.Series[Any], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the numbers of an array by place, float64 [rows] each; NaN in a row without it, or beyond its end."""
    numbers = np.full((len(column), len(names)), np.nan)
    for row, value in enumerate(plain_values(column)):
        if value is not None:
            numbers[row, : len(value)] = value[: len(names)]
    return dict(zip(names, numbers.T, strict=True))


def labelled(table: pd.DataFrame, target: str) -> pd.DataFrame:
    """Return the rows that have a target."""
    return table[table[target].notna()].reset_index(drop=True)


def _groups(spec: ModelSpec, source: RowsSpec, table: pd.DataFrame) -> np.ndarray:
    if source.in_time:
        return _in_time(source, table)
    if source.split is Split.GROUP:
        return buckets(_named(table, source.group), source.seed)
    if source.key is not None:
        return buckets(_named(table, source.key), source.seed)
    values = np.ascontiguousarray(encoded(spec.features, table).to_numpy(dtype=np.float32))
    return buckets([row.tobytes() for row in values], source.seed)


def _in_time(source: RowsSpec, table: pd.DataFrame) -> np.ndarray:
    name = source.time or ""
    column = table[name]
    if column.isna().any():
        row = int(column.isna().to_numpy().argmax())
        raise MalformedInput(
            f"row {row} has no {name}", hint="a split in time needs the time of every row: mend the data"
        )
    if source.period is None:
        return np.asarray(column.to_numpy(dtype=np.int64))
    import pandas as pd

    since = (column - pd.Timestamp(0, tz="UTC")).dt.total_seconds()
    return periods(since.to_numpy(dtype=float), source.period)


def _named(table: pd.DataFrame, name: str | None) -> list[Any]:
    column = table[name or ""]
    if column.isna().any():
        row = int(column.isna().to_numpy().argmax())
        raise MalformedInput(
            f"row {row} has no {name}", hint="the split needs it in every row: mend the data"
        )
    return column.tolist()


def plain_values(column: pd.Series[Any]) -> np.ndarray:
    """Return a column without the missing-value markers of pandas: NaN in numbers, None elsewhere."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
    values = column.to_numpy(dtype=object, copy=True)
    values[column.isna().to_numpy()] = None
    return values
