"""Rows on their way to a process, which imports no reader of files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from perennial.core.input_encoding import Column, Distinct, Fault


@dataclass(frozen=True)
class Chunk:
    """The BatchChunk port over an Arrow table: of each input its value and, where one cannot be cast, the texts."""

    number: int
    first_row: int
    table: pa.Table
    names: tuple[str, ...]
    copied: tuple[str, ...]
    given: Mapping[str, Column] | None = None
    """Inputs in place of those of the table."""
    refused: tuple[Fault, ...] = ()

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def columns(self) -> dict[str, Column]:
        if self.given is not None:
            return dict(self.given)
        columns: dict[str, Column] = {}
        for place, name in enumerate(self.names):
            values, text = self._array(f"value_{place}"), f"text_{place}"
            is_uncast = text in self.table.column_names
            columns[name] = _mixed(values, self._array(text)) if is_uncast else _column(values)
        return columns

    def with_columns(self, columns: Mapping[str, Column], refused: tuple[Fault, ...]) -> Chunk:
        return replace(self, given=columns, refused=refused)

    def copies(self) -> dict[str, pa.Array]:
        """Return the columns that the result has, too."""
        return {name: self._array(f"copy_{place}") for place, name in enumerate(self.copied)}

    def _array(self, name: str) -> pa.Array:
        column = self.table[name].combine_chunks()
        return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _mixed(values: pa.Array, texts: pa.Array) -> list[Any]:
    """Return the values with the texts of those that could not be cast, which the encoding refuses."""
    pairs = zip(values.to_pylist(), texts.to_pylist(), strict=True)
    return [value if text is None else text for value, text in pairs]


def _column(values: pa.Array) -> Column:
    """Return a column in the form that is encoded fastest."""
    if pa.types.is_timestamp(values.type):
        return np.asarray(values.cast(pa.timestamp("us")).to_numpy(zero_copy_only=False))
    if pa.types.is_floating(values.type):
        return np.asarray(values.to_numpy(zero_copy_only=False))
    if pa.types.is_list(values.type):
        sizes = pc.unique(pc.list_value_length(values)).to_pylist()
        if len(sizes) == 1 and sizes[0]:
            return np.asarray(values.flatten().to_numpy(zero_copy_only=False)).reshape(len(values), sizes[0])
        return list(values.to_pylist())
    coded = values.dictionary_encode()
    distinct: list[Any] = [*coded.dictionary.to_pylist(), None]
    places = coded.indices.fill_null(len(distinct) - 1)
    return Distinct(distinct, places.to_numpy(zero_copy_only=False))
