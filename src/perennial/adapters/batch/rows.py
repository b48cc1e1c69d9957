"""The BatchRows port over DuckDB: CSV and Parquet files, folders of Parquet, and copies of queries."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from perennial.adapters.batch.chunk import Chunk
from perennial.adapters.batch.plain_csv import has_plain_times, odd_year, plain_scan, time_of
from perennial.adapters.csv_texts.encodings import in_utf8
from perennial.adapters.csv_texts.lines import repeated_names
from perennial.adapters.csv_texts.numbers import as_plain, matches, quoted
from perennial.adapters.csv_texts.times import has_one_reading, time_sql
from perennial.adapters.file_scan import Location, connect, described, is_csv, malformed, scan
from perennial.adapters.table_files import TableFile
from perennial.adapters.tables.sql_rows import Origin, fetch
from perennial.core.data_spec import CsvForm
from perennial.core.input_spec import InputKind
from perennial.errors import MalformedInput
from perennial.files import replacing

ODD = "odd_"
"""First part of the names of columns with times that need the longer way."""
NUMBERS = (InputKind.FLOAT, InputKind.INT)
READ_ROWS = 65_536


class FileRows:
    """The rows of a file or folder.

    Args:
        types: inputs -> their types.
        wanted: columns that the result must have, too.
        optional: columns that it has where the file has them.
        missing: texts of a CSV file that stand for a missing value.
        form: of a CSV file.

    Raises:
        DatasetMissing: there is no such file. MalformedInput: it is no table, lacks a column, or has
            one twice.
    """

    def __init__(
        self,
        path: Location,
        types: Mapping[str, InputKind],
        wanted: Sequence[str],
        optional: Sequence[str],
        missing: tuple[str, ...],
        form: CsvForm,
    ) -> None:
        self._path = path
        self._types = types
        self._missing = missing
        self._form = form
        with self._read() as (database, file, read_form):
            plain = plain_scan(database, file, missing, read_form) if is_csv(file) else None
            columns = plain[1] if plain is not None else [*described(database, file, missing, read_form)]
            if is_csv(file) and (twice := repeated_names(file, read_form.encoding)):
                raise MalformedInput(
                    f"{path} has the columns {', '.join(twice)[:500]} more than once",
                    hint="give each column a name of its own; upper and lower case count as one",
                )
        if absent := [name for name in (*types, *wanted) if name not in columns]:
            raise MalformedInput(
                f"{path} has no column {', '.join(absent)}",
                hint=f"it has {', '.join(columns)[:500]}",
            )
        names = [*(name for name in optional if name in columns), *wanted]
        self.copied = tuple(dict.fromkeys(names))

    def revision(self) -> str:
        return TableFile(self._path, {}, (), "").revision()

    def count(self) -> int | None:
        with self._read() as (database, file, _):
            if is_csv(file):
                return None
            rows = database.execute(f"SELECT count(*) FROM {scan(file, self._missing)}").fetchall()  # noqa: S608
            return int(rows[0][0])

    def chunks(self, size: int, skip: Collection[int]) -> Iterator[Chunk]:
        with self._read() as (database, file, form):
            done = 0
            if (query := self._one_pass(database, file, form)) is not None:
                try:
                    for chunk in self._chunks(database, query, size):
                        if any(name.startswith(ODD) for name in chunk.table.column_names):
                            break
                        done = chunk.number + 1
                        if chunk.number not in skip:
                            yield chunk
                    else:
                        return
                except duckdb.Error:
                    pass  # a later line has another form than the first ones, or the file is no table
            for chunk in self._chunks(database, self._query(database, file, form), size):
                if chunk.number >= done and chunk.number not in skip:
                    yield chunk

    def _chunks(self, database: duckdb.DuckDBPyConnection, query: str, size: int) -> Iterator[Chunk]:
        number, first = 0, 1
        for rows in _in_chunks(_batches(database, query), size):
            empty = [name for name in rows.column_names if name.startswith(("text_", ODD))]
            table = rows.drop_columns([name for name in empty if rows[name].null_count == len(rows)])
            yield Chunk(number, first, table, tuple(self._types), self.copied)
            number, first = number + 1, first + table.num_rows

    @contextmanager
    def _read(self) -> Iterator[tuple[duckdb.DuckDBPyConnection, Location, CsvForm]]:
        try:
            with in_utf8(self._path, self._form) as (file, form), connect(file) as database:
                yield database, file, form
        except duckdb.Error as error:
            raise malformed(self._path, error) from error

    def _one_pass(self, database: duckdb.DuckDBPyConnection, file: Location, form: CsvForm) -> str | None:
        """Return as `_query` the SQL over a plain CSV file, and the texts of times of odd years; None for others."""
        plain = plain_scan(database, file, self._missing, form) if is_csv(file) else None
        times = [name for name, kind in self._types.items() if kind is InputKind.TIMESTAMP]
        if plain is None or not has_plain_times(database, plain[0], times):
            return None
        values = {
            name: time_of(quoted(name)) if name in times else _value_sql(name, kind, "VARCHAR", form)
            for name, kind in self._types.items()
        }
        odd = [
            f"CASE WHEN {odd_year(quoted(name))} THEN {quoted(name)} END AS {ODD}{place}"
            for place, name in enumerate(times)
        ]
        return self._select(values, odd, plain[0])

    def _query(self, database: duckdb.DuckDBPyConnection, file: Location, form: CsvForm) -> str:
        """Return the SQL of the values, and of the texts of those that cannot be cast, in the order of the file."""
        from_csv = is_csv(file)
        columns = described(database, file, self._missing, form)
        # Times keep the form that DuckDB finds in the file, such as 31/01/2024.
        texts = [name for name in columns if self._types.get(name) is not InputKind.TIMESTAMP]
        rows = scan(file, self._missing, texts=texts, form=form)
        times = self._time_texts(database, file, form) if from_csv and len(texts) < len(columns) else rows
        values = {}
        for name, kind in self._types.items():
            column = quoted(name)
            sql_type = "VARCHAR" if from_csv and name in texts else columns[name]
            if kind is InputKind.TIMESTAMP:
                if from_csv:
                    has_one_reading(database, times, name, column, sql_type, os.fspath(self._path))
                values[name] = time_of(time_sql(database, times, column, sql_type))
            else:
                values[name] = _value_sql(name, kind, sql_type, form if from_csv else CsvForm())
        return self._select(values, [], rows)

    def _select(self, values: Mapping[str, str], more: Sequence[str], rows: str) -> str:
        """Return the SQL of a chunk's columns.

        Args:
            values: input -> SQL of its value. more: further columns.
        """
        parts = [*more]
        for place, (name, value) in enumerate(values.items()):
            text = f"CASE WHEN {value} IS NULL THEN CAST({quoted(name)} AS VARCHAR) END"
            parts += [f"{value} AS value_{place}", f"{text} AS text_{place}"]
        parts += [f"{quoted(name)} AS copy_{place}" for place, name in enumerate(self.copied)]
        return f"SELECT {', '.join(parts)} FROM {rows}"  # noqa: S608 quoted

    def _time_texts(self, database: duckdb.DuckDBPyConnection, file: Location, form: CsvForm) -> str:
        """Return a table of the times as texts, so that looking for their form reads the file once."""
        names = [quoted(name) for name, kind in self._types.items() if kind is InputKind.TIMESTAMP]
        rows = scan(file, self._missing, text=True, form=form)
        database.execute(f"CREATE TEMP TABLE time_texts AS SELECT {', '.join(names)} FROM {rows}")  # noqa: S608 quoted
        return "time_texts"


def copied_query(query: str, connection: str, folder: Path) -> Path:
    """Copy the rows of a query once, as a Parquet file; the copy of a killed run stays as it is.

    Raises:
        As `adapters.tables.sql_rows.SqlRows.read`.
    """
    origin = Origin(connection, query, None, None)
    path = folder / f"query-{origin.digest}.parquet"
    if not path.is_file():
        rows = fetch(origin, None)
        with replacing(path) as temporary:
            pq.write_table(rows, temporary)
    return path


def _value_sql(name: str, kind: InputKind, sql_type: str, form: CsvForm) -> str:
    """Return the SQL of a value, NULL where it cannot be cast without loss.

    A whole number is a DOUBLE, too: the cast of DuckDB would round 1.5, the encoding refuses it.
    """
    column = quoted(name)
    if kind in NUMBERS:
        if sql_type == "BOOLEAN":
            return "CAST(NULL AS DOUBLE)"
        if sql_type != "VARCHAR" or form.is_plain_number:
            return f"TRY_CAST({column} AS DOUBLE)"
        shape = (form.decimal, form.thousands, form.units.get(name))
        return f"CASE WHEN {matches(column, *shape)} THEN TRY_CAST({as_plain(column, *shape)} AS DOUBLE) END"
    if kind is InputKind.BOOL:
        if sql_type in ("VARCHAR", "BOOLEAN"):
            return f"TRY_CAST({column} AS BOOLEAN)"
        return f"CASE WHEN {column} = 0 THEN false WHEN {column} = 1 THEN true END"
    return f"TRY_CAST({column} AS DOUBLE[])" if kind is InputKind.ARRAY else f"CAST({column} AS VARCHAR)"


def _batches(database: duckdb.DuckDBPyConnection, query: str) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a query; raises duckdb.Error also where Arrow hands it on as an error of the system."""
    try:
        yield from database.sql(query).to_arrow_reader(READ_ROWS)
    except OSError as error:
        raise duckdb.InvalidInputException(str(error)) from error


def _in_chunks(reader: Iterator[pa.RecordBatch], size: int) -> Iterator[pa.Table]:
    """Yield tables of exactly `size` rows, and the rest; the batches of DuckDB may have any size."""
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in reader:
        while rows + batch.num_rows >= size:
            yield pa.Table.from_batches([*waiting, batch.slice(0, size - rows)])
            batch = batch.slice(size - rows)
            waiting, rows = [], 0
        if batch.num_rows:
            waiting.append(batch)
            rows += batch.num_rows
    if waiting:
        yield pa.Table.from_batches(waiting)
