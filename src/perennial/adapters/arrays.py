"""Lists of DuckDB as arrays: the same number of finite numbers in each row."""

from __future__ import annotations

import re

import duckdb

from perennial.adapters.csv_texts.numbers import quoted
from perennial.adapters.csv_texts.times import NUMBERS
from perennial.core.input_encoding import LARGEST
from perennial.core.input_spec import MOST_NUMBERS, InputKind
from perennial.errors import MalformedInput

LIST = re.compile(r"(.+)\[\d*\]")
DECIMAL = re.compile(r"DECIMAL\(\d+,\d+\)")


def array_size(database: duckdb.DuckDBPyConnection, file: str, name: str, read_as: str) -> tuple[int, str]:
    """Return how many numbers each list of a column has, and why the column is no array; empty where it is one.

    The size is that of the first list. Rows count from 1, as in other messages about a file.
    """
    element = LIST.fullmatch(read_as)
    if element is None:
        return 0, f"{read_as} is no list: lists of numbers are read from Parquet and from databases"
    if element[1] not in NUMBERS and not DECIMAL.fullmatch(element[1]):
        return 0, f"each value is a list of {element[1]}, not of numbers"
    numbered = f"SELECT row_number() OVER () AS row, CAST({quoted(name)} AS DOUBLE[]) AS value FROM {file}"  # noqa: S608
    numbered = f"SELECT * FROM ({numbered}) WHERE value IS NOT NULL"  # noqa: S608
    first = database.execute(f"{numbered} ORDER BY row LIMIT 1").fetchall()
    if not first:
        return 0, "empty"
    size = len(first[0][1])
    if size == 0:
        return 0, f"row {first[0][0]} has an empty list"
    if size > MOST_NUMBERS:
        return 0, f"row {first[0][0]} has {size} numbers: an array has at most {MOST_NUMBERS}"
    # Models get float32. A null is not within its range, nor is NaN, which DuckDB takes for the largest number.
    finite = f"len(list_filter(value, lambda number: abs(number) <= {LARGEST!r}))"
    wrong = database.execute(
        f"SELECT row, len(value) FROM ({numbered}) WHERE len(value) <> {size} OR {finite} <> {size} "  # noqa: S608
        "ORDER BY row LIMIT 1"
    ).fetchall()
    if not wrong:
        return size, ""
    row, length = wrong[0]
    if length != size:
        return 0, f"row {row} has {length} numbers, row {first[0][0]} has {size}"
    return 0, f"row {row} has a list with a number that is missing or not finite as float32"


def check_lists(
    database: duckdb.DuckDBPyConnection, file: str, path: str, name: str, kind: InputKind, read_as: str
) -> None:
    """Refuse a list that is no array, or that the spec takes for something else.

    Args:
        file: SQL of the table.
        read_as: type that DuckDB finds in the file.

    Raises:
        MalformedInput: names the column, and the first such row.
    """
    if kind is not InputKind.ARRAY:
        if LIST.fullmatch(read_as):
            raise MalformedInput(
                f"{path}: {name} is a list ({read_as}), which is no {kind.value}",
                hint="type: array is for lists",
            )
        return
    _, problem = array_size(database, file, name, read_as)
    if problem:
        raise MalformedInput(
            f"{path}: {name}: {problem}",
            hint="an array has the same number of finite numbers in each row; a row without it has null",
        )
