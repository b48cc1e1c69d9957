"""SQL of DuckDB over CSV and Parquet files and folders of Parquet, here or in S3.

DuckDB reaches S3 by fsspec (s3fs), since its own extension would be fetched from the internet. Keys and endpoint are
those of the AWS environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb

from perennial.adapters.csv_texts.encodings import WORKBOOK
from perennial.adapters.csv_texts.lines import different_line, odd_line, separator
from perennial.adapters.csv_texts.numbers import as_plain, literal, matches, number_types, quoted
from perennial.core.data_spec import CsvForm
from perennial.errors import DatasetMissing, MalformedInput
from perennial.object_storage import S3, s3

Location = Path | str
"""A file, a folder of Parquet files, or the address of either: s3://bucket/key."""
PARQUET = (".parquet", ".pq")
ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", *PARQUET)
WORKBOOKS = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods")
PLAIN = CsvForm()


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


def described(
    database: duckdb.DuckDBPyConnection, path: Location, missing: tuple[str, ...], form: CsvForm = PLAIN
) -> dict[str, str]:
    """Return the type of each column that DuckDB finds in a file; raises as `TableFile.read`."""
    check_there(path)
    try:
        rows = database.execute(f"DESCRIBE SELECT * FROM {scan(path, missing, form=form)}").fetchall()  # noqa: S608
    except duckdb.Error as error:
        sign = separator(path, form.encoding) if is_csv(path) else None
        if sign is not None and (odd := different_line(path, sign, form.encoding)):
            raise MalformedInput(f"{path}: {odd[0]}", hint=odd[1]) from error
        raise malformed(path, error) from error
    types = {str(row[0]): str(row[1]) for row in rows}
    if len(types) == 1 and (wrong := odd_line(path, next(iter(types)), form.encoding)):
        raise MalformedInput(f"{path}: {wrong[0]}", hint=wrong[1])
    if is_csv(path):
        texts = scan(path, missing, text=True, form=form)
        try:
            types |= number_types(database, texts, types, form)
        except duckdb.Error as error:
            raise malformed(path, error) from error
    return types


def scan(
    path: Location,
    missing: tuple[str, ...],
    text: bool = False,
    texts: Sequence[str] = (),
    form: CsvForm = PLAIN,
    numbers: Mapping[str, str] | None = None,
) -> str:
    """Return the SQL of a table function over a file.

    Args:
        text: every column of a CSV file as text, not with the type that DuckDB finds.
        texts: the columns of a CSV file to read as text.
        form: of a CSV file.
        numbers: columns of a CSV file to read as numbers of the form -> SQL type. A text that is none is missing.
    """
    address = os.fspath(path)
    quoted_path = literal(address)
    if address.lower().endswith(PARQUET):
        return f"read_parquet({quoted_path})"
    if _is_folder(path):
        # Parts may lack a column that a later one has: it is missing in their rows.
        return f"read_parquet({literal(address.rstrip('/') + '/**/*.parquet')}, union_by_name = true)"
    nulls = ", ".join(map(literal, missing)) or "''"
    as_text = ", all_varchar = true" if text else ""
    if texts or numbers:
        listed = ", ".join(
            f"{literal(name)}: 'VARCHAR'" for name in {**dict.fromkeys(texts), **(numbers or {})}
        )
        as_text = f", types = {{{listed}}}"
    if form.encoding != PLAIN.encoding:
        as_text += f", encoding = '{form.encoding}'"
    if (sign := separator(path, form.encoding)) is not None:
        as_text += f", delim = {literal(sign)}"
    # The whole file decides on the types: a sample would take a late text for an error.
    file = f"read_csv({quoted_path}, header = true, sample_size = -1, nullstr = [{nulls}]{as_text})"
    if not numbers:
        return file
    replaced = ", ".join(
        f"CASE WHEN {matches(column, *shape)} THEN CAST({as_plain(column, *shape)} AS {kind}) END AS {column}"
        for name, kind in numbers.items()
        for column, shape in [(quoted(name), (form.decimal, form.thousands, form.units.get(name)))]
    )
    return f"(SELECT * REPLACE ({replaced}) FROM {file})"  # noqa: S608 quoted


def is_csv(path: Location) -> bool:
    return not os.fspath(path).lower().endswith(PARQUET) and not _is_folder(path)


def _is_folder(path: Location) -> bool:
    if is_s3(path):
        return not os.fspath(path).lower().endswith(ENDINGS)
    return Path(path).is_dir()


def check_there(path: Location) -> None:
    hint = "name a file, or a folder of Parquet files; of a model, data.source.path of its spec does"
    if _is_folder(path):
        has_parts = s3().glob(f"{path}/**/*.parquet") if is_s3(path) else any(Path(path).rglob("*.parquet"))
        if not has_parts:
            raise DatasetMissing(f"{path} holds no Parquet file", hint=hint)
        return
    if not (s3().exists(path) if is_s3(path) else Path(path).is_file()):
        raise DatasetMissing(f"there is no table {path}", hint=hint)
    if os.fspath(path).lower().endswith(WORKBOOKS):
        raise MalformedInput(f"{path} is a workbook, not a CSV or Parquet file", hint=WORKBOOK)
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
