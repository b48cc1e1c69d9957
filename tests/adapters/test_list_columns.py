"""Columns of lists that are no arrays are left out with a reason, and do not stop the look at their table."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from perennial.adapters.table_summary import summarise
from perennial.core.input_spec import MOST_NUMBERS
from perennial.core.training.drafts.column_roles import as_input
from perennial.core.training.drafts.table_columns import ColumnType

ROWS = 20
NESTED = pa.list_(pa.list_(pa.decimal128(4, 1)))
ODD = {
    "as many numbers as columns of a matrix may have": (pa.list_(pa.float32()), [0.0] * MOST_NUMBERS, ""),
    "more": (pa.list_(pa.float32()), [0.0] * (MOST_NUMBERS + 1), "row 1 has 4097 numbers: an array has at most 4096"),
    "lists of lists of decimals": (NESTED, [[1, 2]], "list of DECIMAL(4,1)[], not of numbers"),
    "beyond float32": (pa.list_(pa.float64()), [1.0, 1e39], "row 1 has a list with a number"),
    "not a number": (pa.list_(pa.float64()), [1.0, float("nan")], "row 1 has a list with a number"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ODD)
def test_a_list_is_an_array_or_has_a_reason(tmp_path, kind):
    path = tmp_path / "t.parquet"
    column, value, reason = ODD[kind]
    table = pa.table({"list": pa.array([value] * (ROWS - 1) + [None], column), "other": list(range(ROWS))})
    pq.write_table(table, path)
    found, other = summarise(path, ("",))
    assert other.type is ColumnType.INT
    assert reason in found.problem
    assert (found.type is ColumnType.ARRAY) == (not reason)
    assert ("lists, but no array" in as_input(found).reason) == bool(reason)
