"""Columns of a table as SQL of DuckDB in the types of a spec: nothing is cast that would become something else."""

from __future__ import annotations

import re

import duckdb

from perennial.adapters.csv_texts.times import NUMBERS, as_time, time_format, time_unit
from perennial.core.input_spec import InputKind
from perennial.errors import MalformedInput

FRACTIONS = ("FLOAT", "DOUBLE")
TYPES = {
    InputKind.FLOAT: "DOUBLE",
    InputKind.INT: "BIGINT",
    InputKind.BOOL: "BOOLEAN",
    InputKind.CATEGORY: "VARCHAR",
    InputKind.TIMESTAMP: "TIMESTAMPTZ",
    InputKind.TEXT: "VARCHAR",
    InputKind.ARRAY: "DOUBLE[]",
}


def quoted(name: str) -> str:
    """Return an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


LIST = re.compile(r"(.+)\[\d*\]")


def array_size(database: duckdb.DuckDBPyConnection, file: str, name: str, read_as: str) -> tuple[int, str]:
    """Return how many numbers each list of a column has, and why the column is no array; empty where it is one.

    The size is that of the first list. Rows count from 1, as in other messages about a file.
    """
    element = LIST.fullmatch(read_as)
    if element is None:
        return 0, f"{read_as} is no list: lists of numbers are read from Parquet and from databases"
    if element[1] not in NUMBERS and not element[1].startswith("DECIMAL"):
        return 0, f"each value is a list of {element[1]}, not of numbers"
    numbered = f"SELECT row_number() OVER () AS row, CAST({quoted(name)} AS DOUBLE[]) AS value FROM {file}"  # noqa: S608
    numbered = f"SELECT * FROM ({numbered}) WHERE value IS NOT NULL"  # noqa: S608
    first = database.execute(f"{numbered} ORDER BY row LIMIT 1").fetchall()
    if not first:
        return 0, "empty"
    size = len(first[0][1])
    if size == 0:
        return 0, f"row {first[0][0]} has an empty list"
    finite = "len(list_filter(value, lambda number: isfinite(number)))"  # a null is not finite
    wrong = database.execute(
        f"SELECT row, len(value) FROM ({numbered}) WHERE len(value) <> {size} OR {finite} <> {size} "  # noqa: S608
        "ORDER BY row LIMIT 1"
    ).fetchall()
    if not wrong:
        return size, ""
    row, length = wrong[0]
    if length != size:
        return 0, f"row {row} has {length} numbers, row {first[0][0]} has {size}"
    return 0, f"row {row} has a list with a number that is missing or not finite"


def typed(database: duckdb.DuckDBPyConnection, file: str, name: str, kind: InputKind, read_as: str) -> str:
    """Return the SQL of a column in its type.

    Args:
        file: SQL of the table.
        read_as: type that DuckDB finds in the file.
    """
    column = quoted(name)
    if kind is InputKind.TIMESTAMP and read_as in NUMBERS and (unit := time_unit(database, file, column)):
        return f"CAST({as_time(column, unit)} AS TIMESTAMPTZ) AS {column}"
    if kind is InputKind.TIMESTAMP and read_as == "VARCHAR" and (form := time_format(database, file, column)):
        return f"CAST(strptime({column}, '{form}') AS TIMESTAMPTZ) AS {column}"
    if kind is InputKind.TIMESTAMP and read_as in ("DATE", "TIMESTAMP"):
        # A bare cast reaches the CSV reader, which then forgets the form that it has read.
        return f"CAST({column} + INTERVAL 0 SECOND AS TIMESTAMPTZ) AS {column}"
    if kind is InputKind.INT and read_as in FRACTIONS:
        return f"CAST(CASE WHEN isnan({column}) THEN NULL ELSE {column} END AS BIGINT) AS {column}"
    return f"CAST({column} AS {TYPES[kind]}) AS {column}"


def keeps_its_type(
    database: duckdb.DuckDBPyConnection, file: str, path: str, name: str, kind: InputKind, read_as: str
) -> None:
    """Refuse values that DuckDB would cast silently: 1.5 to a whole number, 2 to true, true to 1.

    Raises:
        MalformedInput: names the first such row and its value.
    """
    column = quoted(name)
    if kind is InputKind.ARRAY:
        _, problem = array_size(database, file, name, read_as)
        if problem:
            raise MalformedInput(
                f"{path}: {name}: {problem}",
                hint="an array has the same number of finite numbers in each row; a row without it has null",
            )
        return
    if "[" in read_as:
        raise MalformedInput(
            f"{path}: {name} is a list ({read_as}), which is no {kind.value}", hint="type: array is for lists"
        )
    is_text, is_bool = read_as == "VARCHAR", read_as == "BOOLEAN"
    is_csv = file.startswith("read_csv")
    if (
        kind is InputKind.INT
        and not is_bool
        and (is_csv or is_text or read_as in FRACTIONS or "DECIMAL" in read_as)
    ):
        number = f"TRY_CAST({column} AS DOUBLE)"
        wrong = f"NOT isnan({number}) AND {number} % 1 <> 0"
    elif kind is InputKind.BOOL and not (is_csv or is_text or is_bool):
        wrong = f"{column} NOT IN (0, 1)"
    elif kind in (InputKind.INT, InputKind.FLOAT) and is_bool and not is_csv:
        wrong = f"{column} IS NOT NULL"
    else:
        return
    numbered = f"SELECT row_number() OVER () AS row, {column} FROM {file}"  # noqa: S608 quoted
    query = f"SELECT row, {column} FROM ({numbered}) WHERE {wrong} LIMIT 1"  # noqa: S608
    if wrong_rows := database.execute(query).fetchall():
        row, value = wrong_rows[0]
        raise MalformedInput(
            f"{path}: row {row}, {name} is {value!r}, which is no {kind.value}",
            hint="correct the data, or the type in the spec",
        )
