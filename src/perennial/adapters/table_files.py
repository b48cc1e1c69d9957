"""Tables in CSV and Parquet files and folders of Parquet, here or in S3, read with the types of the spec by DuckDB."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import duckdb
import pandas as pd

from perennial.adapters.arrays import check_lists
from perennial.adapters.csv_texts.encodings import in_utf8
from perennial.adapters.csv_texts.numbers import matches, quoted
from perennial.adapters.csv_texts.times import NUMBERS, has_one_reading, time_sql
from perennial.adapters.file_scan import (
    PLAIN,
    Location,
    check_there,
    connect,
    described,
    is_csv,
    is_s3,
    malformed,
    s3,
    scan,
)
from perennial.core.data_spec import CsvForm
from perennial.core.input_spec import InputKind
from perennial.errors import MalformedInput
from perennial.files import sha256

EXACT = 2**53
"""Smallest whole number beyond which a float skips some."""
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


class TableFile:
    """A file or folder as a source of training data.

    Args:
        types: column -> its type.
        missing: texts of a CSV file that stand for a missing value.
        name: the name by which the terms of the data are stated.
        form: encoding and number format of a CSV file.
    """

    def __init__(
        self,
        path: Location,
        types: Mapping[str, InputKind],
        missing: tuple[str, ...],
        name: str,
        form: CsvForm = PLAIN,
    ) -> None:
        self._form = form
        self._path = path
        self._types = types
        self._missing = missing
        self._name = name

    def read(self) -> pd.DataFrame:
        """Return the columns of `types`, in this order.

        Raises:
            DatasetMissing: there is no such file, or no Parquet file in the folder.
            MalformedInput: it is no table, a column is missing, or a value is of another type; names the line.
        """
        check_there(self._path)
        with in_utf8(self._path, self._form) as (path, form), connect(path) as database:
            columns = described(database, path, self._missing, form)
            absent = [name for name in self._types if name not in columns]
            if absent:
                raise MalformedInput(
                    f"{self._path} has no column {', '.join(absent)}",
                    hint=f"it has {', '.join(columns)[:500]}",
                )
            try:
                return self._typed_rows(database, path, form, columns)
            except duckdb.Error as error:
                raise malformed(self._path, error) from error

    def _typed_rows(
        self, database: duckdb.DuckDBPyConnection, path: Location, form: CsvForm, columns: Mapping[str, str]
    ) -> pd.DataFrame:
        file_is_csv = is_csv(path)
        as_text = scan(path, self._missing, text=True, form=form)
        # Times keep the form that DuckDB finds in the file, such as 31/01/2024.
        texts = [name for name, kind in self._types.items() if kind is not InputKind.TIMESTAMP]
        numbers: dict[str, str] = {}
        if file_is_csv and not form.is_plain_number:
            _has_form(database, as_text, path, self._types, form)
            for name, kind in self._types.items():
                if kind in (InputKind.FLOAT, InputKind.INT):
                    numbers[name] = "VARCHAR"
                elif kind is InputKind.TIMESTAMP and columns[name] in NUMBERS:
                    numbers[name] = columns[name]
        file = scan(path, self._missing, texts=texts, form=form, numbers=numbers)
        wanted = ", ".join(
            _typed(database, file, name, kind, columns[name]) for name, kind in self._types.items()
        )
        for name, kind in self._types.items():
            check_lists(database, file, os.fspath(path), name, kind, columns[name])
            _keeps_its_type(database, file, path, name, kind, columns[name])
            if kind is InputKind.TIMESTAMP and file_is_csv:
                has_one_reading(database, as_text, name, quoted(name), columns[name], os.fspath(self._path))
        query = f"SELECT {wanted} FROM {file}"  # noqa: S608 quoted
        return _exact(database.sql(query).df(), database, query, self._types)

    def revision(self) -> str:
        """Return a hash over the names and contents of the files; those in S3 count by their ETags."""
        check_there(self._path)
        if is_s3(self._path):
            objects = s3().find(os.fspath(self._path), detail=True)
            parts = [(name, str(entry["ETag"]).strip('"')) for name, entry in sorted(objects.items())]
        else:
            path = Path(self._path)
            files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
            parts = [(str(file.relative_to(path.parent)), sha256(file)) for file in files]
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def terms(self) -> str:
        return self._name


def _typed(database: duckdb.DuckDBPyConnection, file: str, name: str, kind: InputKind, read_as: str) -> str:
    column = quoted(name)
    if kind is InputKind.TIMESTAMP:
        return f"CAST({time_sql(database, file, column, read_as)} AS TIMESTAMPTZ) AS {column}"
    if kind is InputKind.INT and read_as in FRACTIONS:
        return f"CAST(CASE WHEN isnan({column}) THEN NULL ELSE {column} END AS BIGINT) AS {column}"
    return f"CAST({column} AS {TYPES[kind]}) AS {column}"


def _keeps_its_type(
    database: duckdb.DuckDBPyConnection, file: str, path: Location, name: str, kind: InputKind, read_as: str
) -> None:
    """Refuse values that DuckDB would cast silently: 1.5 to a whole number, 2 to true, true to 1.

    Raises:
        MalformedInput: names the first such row and its value.
    """
    column = quoted(name)
    is_text, is_bool = read_as == "VARCHAR", read_as == "BOOLEAN"
    from_csv = is_csv(path)
    if (
        kind is InputKind.INT
        and not is_bool
        and (from_csv or is_text or read_as in FRACTIONS or "DECIMAL" in read_as)
    ):
        number = f"TRY_CAST({column} AS DOUBLE)"
        wrong = f"NOT isnan({number}) AND {number} % 1 <> 0"
    elif kind is InputKind.BOOL and not (from_csv or is_text or is_bool):
        wrong = f"{column} NOT IN (0, 1)"
    elif kind in (InputKind.INT, InputKind.FLOAT) and is_bool and not from_csv:
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


def _has_form(
    database: duckdb.DuckDBPyConnection,
    texts: str,
    path: Location,
    types: Mapping[str, InputKind],
    form: CsvForm,
) -> None:
    """Refuse numbers of another form than the spec names: 1.5 in a file with decimal commas, 12 among $12.

    Args:
        texts: SQL after FROM, with each column as text.

    Raises:
        MalformedInput: names the first such row and its value.
    """
    for name, kind in types.items():
        if kind not in (InputKind.FLOAT, InputKind.INT):
            continue
        column, unit = quoted(name), form.units.get(name)
        wrong = f"NOT {matches('text', form.decimal, form.thousands, unit)}"
        numbered = f"SELECT row_number() OVER () AS row, {column} AS text FROM {texts}"  # noqa: S608 quoted
        query = f"SELECT row, text FROM ({numbered}) WHERE {wrong} LIMIT 1"  # noqa: S608
        for row, value in database.execute(query).fetchall():
            example = f"1{form.thousands or ''}234{form.decimal}5" + (f" {unit}" if unit else "")
            raise MalformedInput(
                f"{path}: row {row}, {name} is {value!r}, no number of the form {example}",
                hint="correct the data, or data.source.csv of the spec",
            )


def _exact(
    frame: pd.DataFrame, database: duckdb.DuckDBPyConnection, query: str, types: Mapping[str, InputKind]
) -> pd.DataFrame:
    """Return a table whose whole numbers are those of the file: with missing ones, pandas has made floats of them."""
    for name, kind in types.items():
        column = frame[name]
        if kind is InputKind.INT and column.dtype.kind == "f" and column.abs().max() >= EXACT:
            values = database.sql(f"SELECT {quoted(name)} FROM ({query})").fetchall()  # noqa: S608 quoted
            frame[name] = pd.array([value for (value,) in values], dtype="Int64")
    return frame
