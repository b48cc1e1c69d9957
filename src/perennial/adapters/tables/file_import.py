"""Files that are added to the tables that Perennial keeps."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa

from perennial.adapters.csv_texts.numbers import quoted
from perennial.adapters.file_scan import connect, described, malformed, scan
from perennial.adapters.tables.stored_table import StoredTable
from perennial.errors import MalformedInput
from perennial.files import sha256


def add_file(table: StoredTable, path: Path, missing: tuple[str, ...]) -> int:
    """Add the rows of a CSV or Parquet file, and return how many; 0 for a file that was added before.

    The types of the first file are those of the table: a whole number may become a number, a date a time and
    anything a text; nothing else is cast.

    Raises:
        DatasetMissing: there is no such file.
        MalformedInput: it has other columns, or a value is of another type; names the row.
    """
    with table.writing(), connect() as database:
        types = described(database, path, missing)
        digest = sha256(path)
        if any(note.get("file") == digest for note in table.notes()):
            return 0
        known = described(database, table.folder, ()) if table.exists() else types
        wanted = []
        ordered = {name: types[name] for name in known if name in types} | types
        for name, kind in ordered.items():
            target = known.get(name, kind)
            if kind != target:
                _fits(database, path, missing, name, kind, target)
            wanted.append(f"CAST({quoted(name)} AS {target}) AS {quoted(name)}")
        try:
            query = f"SELECT {', '.join(wanted)} FROM {scan(path, missing)}"  # noqa: S608 quoted
            rows: pa.Table = database.sql(query).to_arrow_table()
        except duckdb.Error as error:
            raise malformed(path, error) from error
        table.add(rows, {"file": digest, "name": path.name})
        return rows.num_rows


WIDER = {
    "BIGINT": ("DOUBLE",),
    "INTEGER": ("BIGINT", "DOUBLE"),
    "DATE": ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE"),
}
"""Type of a file -> types of a table that lose nothing of it."""


def _fits(
    database: duckdb.DuckDBPyConnection,
    path: Path,
    missing: tuple[str, ...],
    name: str,
    kind: str,
    target: str,
) -> None:
    column = quoted(name)
    fits = "true" if target in WIDER.get(kind, ()) else f"{column} IS NULL"
    if target == "VARCHAR":
        fits = "true"
    elif kind == "VARCHAR" and target != "BIGINT":
        fits = f"{column} IS NULL OR TRY_CAST({column} AS {target}) IS NOT NULL"
    numbered = f"SELECT row_number() OVER () AS row, {column} FROM {scan(path, missing)}"  # noqa: S608
    wrong = database.execute(f"SELECT row, {column} FROM ({numbered}) WHERE NOT ({fits}) LIMIT 1").fetchall()  # noqa: S608
    if wrong:
        row, value = wrong[0]
        raise MalformedInput(
            f"{path}: row {row}, {name} is {value!r}; the table has {target} there, the file {kind}",
            hint="correct the file; nothing was added",
        )
