"""Tables in CSV and Parquet files, read by DuckDB with the types that the spec names."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import pandas as pd

from perennial.core.input_spec import InputKind
from perennial.errors import DatasetMissing, MalformedInput

ENDINGS = (".csv", ".csv.gz", ".tsv", ".txt", ".parquet", ".pq")
TYPES = {
    InputKind.FLOAT: "DOUBLE",
    InputKind.INT: "BIGINT",
    InputKind.BOOL: "BOOLEAN",
    InputKind.CATEGORY: "VARCHAR",
    InputKind.TIMESTAMP: "TIMESTAMPTZ",
}


class TableFile:
    """A file as a source of training data.

    Args:
        types: column -> its type.
        missing: texts of a CSV file that stand for a missing value.
        name: the name by which the terms of the data are stated.
    """

    def __init__(
        self, path: Path, types: Mapping[str, InputKind], missing: tuple[str, ...], name: str
    ) -> None:
        self._path = path
        self._types = types
        self._missing = missing
        self._name = name

    def read(self) -> pd.DataFrame:
        """Return the columns of `types`, in this order.

        Raises:
            DatasetMissing: there is no such file.
            MalformedInput: it is no table, a column is missing, or a value is of another type; names the line.
        """
        with connect() as database:
            columns = described(database, self._path, self._missing)
            absent = [name for name in self._types if name not in columns]
            if absent:
                raise MalformedInput(
                    f"{self._path} has no column {', '.join(absent)}",
                    hint=f"it has {', '.join(columns)[:500]}",
                )
            wanted = ", ".join(_typed(name, kind, columns[name]) for name, kind in self._types.items())
            try:
                # Times keep the form that DuckDB finds in the file, such as 31/01/2024.
                texts = [name for name, kind in self._types.items() if kind is not InputKind.TIMESTAMP]
                file = scan(self._path, self._missing, texts=texts)
                return database.sql(f"SELECT {wanted} FROM {file}").df()  # noqa: S608 quoted
            except duckdb.Error as error:
                raise malformed(self._path, error) from error

    def terms(self) -> str:
        return self._name


def connect() -> duckdb.DuckDBPyConnection:
    """Return a connection in memory that reads times without a zone as UTC."""
    database = duckdb.connect()
    database.execute("SET TimeZone = 'UTC'")
    database.execute("SET threads = 2")
    return database


def described(database: duckdb.DuckDBPyConnection, path: Path, missing: tuple[str, ...]) -> dict[str, str]:
    """Return the type of each column that DuckDB finds in a file; raises as `TableFile.read`."""
    _there(path)
    try:
        rows = database.execute(f"DESCRIBE SELECT * FROM {scan(path, missing)}").fetchall()  # noqa: S608
    except duckdb.Error as error:
        raise malformed(path, error) from error
    types = {str(row[0]): str(row[1]) for row in rows}
    if len(types) == 1 and any(sign in next(iter(types)) for sign in ",;\t|"):
        raise MalformedInput(
            f"{path}: its lines have different numbers of fields, so that {next(iter(types))!r} is one column",
            hint="complete or remove the lines that lack fields",
        )
    return types


def quoted(name: str) -> str:
    """Return an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


def _typed(name: str, kind: InputKind, read_as: str) -> str:
    column = quoted(name)
    if kind is InputKind.TIMESTAMP and read_as in ("DATE", "TIMESTAMP"):
        # A bare cast reaches the CSV reader, which then forgets the form that it has read.
        return f"CAST({column} + INTERVAL 0 SECOND AS TIMESTAMPTZ) AS {column}"
    return f"CAST({column} AS {TYPES[kind]}) AS {column}"


def scan(path: Path, missing: tuple[str, ...], text: bool = False, texts: Sequence[str] = ()) -> str:
    """Return the SQL of a table function over a file.

    Args:
        text: every column of a CSV file as text, not with the type that DuckDB finds.
        texts: the columns of a CSV file to read as text.
    """
    literal = _literal(os.fspath(path))
    if path.suffix.lower() in (".parquet", ".pq"):
        return f"read_parquet({literal})"
    nulls = ", ".join(map(_literal, missing)) or "''"
    as_text = ", all_varchar = true" if text else ""
    if texts:
        listed = ", ".join(f"{_literal(name)}: 'VARCHAR'" for name in texts)
        as_text = f", types = {{{listed}}}"
    # The whole file decides on the types: a sample would take a late text for an error.
    return f"read_csv({literal}, header = true, sample_size = -1, nullstr = [{nulls}]{as_text})"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _there(path: Path) -> None:
    if not path.name.lower().endswith(ENDINGS):
        raise MalformedInput(
            f"{path} is neither a CSV nor a Parquet file by its name", hint=f"known: {', '.join(ENDINGS)}"
        )
    if not path.is_file():
        raise DatasetMissing(f"there is no table {path}", hint="data.source.path of the spec names the file")


def malformed(path: Path, error: Exception) -> MalformedInput:
    """Return the error of DuckDB as an error about a file."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[:4])[:600]
    hint = "correct the file, or the types in the spec"
    return MalformedInput(f"{path}: {text}", hint="save it as UTF-8" if "utf-8" in text else hint)
