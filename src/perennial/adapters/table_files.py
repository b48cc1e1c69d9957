"""Tables in CSV and Parquet files and in folders of Parquet, here or in S3, read by DuckDB with the types of the spec.

DuckDB reaches S3 by fsspec (s3fs), since its own extension would be fetched from the internet. Keys and endpoint are
those of the AWS environment.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from perennial.adapters.csv_texts.lines import odd_line
from perennial.adapters.csv_texts.times import NUMBERS, has_one_reading
from perennial.adapters.typed_columns import keeps_its_type, quoted, typed
from perennial.core.data_spec import CsvForm
from perennial.core.input_spec import InputKind
from perennial.errors import DatasetMissing, MalformedInput, SettingsError
from perennial.files import sha256

Location = Path | str
"""A file, a folder of Parquet files, or the address of either: s3://bucket/key."""
S3 = "s3://"
PARQUET = (".parquet", ".pq")
ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", *PARQUET)
PLAIN = CsvForm()
EXACT = 2**53
"""Smallest whole number beyond which a float skips some."""


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
        with connect(self._path) as database:
            columns = described(database, self._path, self._missing, self._form)
            absent = [name for name in self._types if name not in columns]
            if absent:
                raise MalformedInput(
                    f"{self._path} has no column {', '.join(absent)}",
                    hint=f"it has {', '.join(columns)[:500]}",
                )
            try:
                # Times keep the form that DuckDB finds in the file, such as 31/01/2024; so do numbers such as 1.234,5.
                local = PLAIN.model_copy(update={"encoding": self._form.encoding}) != self._form
                texts = [
                    name
                    for name, kind in self._types.items()
                    if kind is not InputKind.TIMESTAMP and not (local and columns[name] in NUMBERS)
                ]
                file = scan(self._path, self._missing, texts=texts, form=self._form)
                wanted = ", ".join(
                    typed(database, file, name, kind, columns[name]) for name, kind in self._types.items()
                )
                as_text = scan(self._path, self._missing, text=True, form=self._form)
                for name, kind in self._types.items():
                    keeps_its_type(database, file, os.fspath(self._path), name, kind, columns[name])
                    if kind is InputKind.TIMESTAMP and file.startswith("read_csv"):
                        has_one_reading(
                            database, as_text, name, quoted(name), columns[name], os.fspath(self._path)
                        )
                query = f"SELECT {wanted} FROM {file}"  # noqa: S608 quoted
                return _exact(database.sql(query).df(), database, query, self._types)
            except duckdb.Error as error:
                raise malformed(self._path, error) from error

    def revision(self) -> str:
        """Return a hash over the names and contents of the files; those in S3 count by their ETags."""
        _there(self._path)
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


def connect(where: Location = "") -> duckdb.DuckDBPyConnection:
    """Return a connection in memory that reads times without a zone as UTC, and S3 if `where` is there."""
    database = duckdb.connect()
    if is_s3(where):
        database.register_filesystem(s3())
    database.execute("SET TimeZone = 'UTC'")
    database.execute("SET threads = 2")
    return database


def location(project: Path, path: str) -> Location:
    """Return the place that a spec names: in S3, or relative to the project."""
    return path if is_s3(path) else project / path


def is_s3(where: Location) -> bool:
    return isinstance(where, str) and where.startswith(S3)


def s3() -> Any:
    """Return the file system of S3.

    Raises:
        SettingsError: its package is not installed.
    """
    try:
        import s3fs
    except ImportError as error:
        raise SettingsError("s3:// needs the package s3fs", hint="pip install 'perennial[s3]'") from error
    return s3fs.S3FileSystem(use_listings_cache=False)


def described(
    database: duckdb.DuckDBPyConnection, path: Location, missing: tuple[str, ...], form: CsvForm = PLAIN
) -> dict[str, str]:
    """Return the type of each column that DuckDB finds in a file; raises as `TableFile.read`."""
    _there(path)
    try:
        rows = database.execute(f"DESCRIBE SELECT * FROM {scan(path, missing, form=form)}").fetchall()  # noqa: S608
    except duckdb.Error as error:
        raise malformed(path, error) from error
    types = {str(row[0]): str(row[1]) for row in rows}
    if len(types) == 1 and (wrong := odd_line(path, next(iter(types)), form.encoding)):
        raise MalformedInput(f"{path}: {wrong[0]}", hint=wrong[1])
    return types


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


def scan(
    path: Location,
    missing: tuple[str, ...],
    text: bool = False,
    texts: Sequence[str] = (),
    form: CsvForm = PLAIN,
) -> str:
    """Return the SQL of a table function over a file.

    Args:
        text: every column of a CSV file as text, not with the type that DuckDB finds.
        texts: the columns of a CSV file to read as text.
        form: of a CSV file.
    """
    address = os.fspath(path)
    literal = _literal(address)
    if address.lower().endswith(PARQUET):
        return f"read_parquet({literal})"
    if _is_folder(path):
        # Parts may lack a column that a later one has: it is missing in their rows.
        return f"read_parquet({_literal(address.rstrip('/') + '/**/*.parquet')}, union_by_name = true)"
    nulls = ", ".join(map(_literal, missing)) or "''"
    as_text = ", all_varchar = true" if text else ""
    if texts:
        listed = ", ".join(f"{_literal(name)}: 'VARCHAR'" for name in texts)
        as_text = f", types = {{{listed}}}"
    if form != PLAIN:
        as_text += f", encoding = '{form.encoding}', decimal_separator = '{form.decimal}'"
    if form.thousands is not None:
        as_text += f", thousands = '{form.thousands}'"
    # The whole file decides on the types: a sample would take a late text for an error.
    return f"read_csv({literal}, header = true, sample_size = -1, nullstr = [{nulls}]{as_text})"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _is_folder(path: Location) -> bool:
    if is_s3(path):
        return not os.fspath(path).lower().endswith(ENDINGS)
    return Path(path).is_dir()


def _there(path: Location) -> None:
    hint = "data.source.path of the spec names it"
    if _is_folder(path):
        has_parts = s3().glob(f"{path}/**/*.parquet") if is_s3(path) else any(Path(path).rglob("*.parquet"))
        if not has_parts:
            raise DatasetMissing(f"{path} holds no Parquet file", hint=hint)
        return
    if not (s3().exists(path) if is_s3(path) else Path(path).is_file()):
        raise DatasetMissing(f"there is no table {path}", hint=hint)
    if not os.fspath(path).lower().endswith(ENDINGS):
        raise MalformedInput(
            f"{path} is neither a CSV nor a Parquet file by its name", hint=f"known: {', '.join(ENDINGS)}"
        )


def malformed(path: Location, error: Exception) -> MalformedInput:
    """Return the error of DuckDB as an error about a file."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[:4])[:600]
    hint = "correct the file, or the types in the spec"
    return MalformedInput(f"{path}: {text}", hint="save it as UTF-8" if "encoded" in text else hint)
