"""Rows of a database, read by SQLAlchemy; Perennial's copy of them is what a training reads."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
import pyarrow as pa
import sqlalchemy as sa

from perennial.adapters.table_files import TableFile
from perennial.adapters.tables.stored_table import StoredTable
from perennial.core.input_spec import InputKind
from perennial.errors import DatasetMissing, MalformedInput, SettingsError, ToolError

BATCH = 50_000


@dataclass(frozen=True)
class Origin:
    """Place of the rows.

    Args:
        connection: environment variable with the address of the database.
        query: SELECT statement, or `table` is named.
        high_water: column that only rises; None: every read is of all rows.
    """

    connection: str
    query: str | None
    table: str | None
    high_water: str | None

    @property
    def digest(self) -> str:
        return hashlib.sha256(repr(self).encode()).hexdigest()[:12]


class SqlRows:
    """The Source port over a database.

    Args:
        types: column -> its type.
        folder: keeps the rows that were read; another origin has another copy.
        name: the name by which the terms of the data are stated.
    """

    def __init__(self, origin: Origin, types: Mapping[str, InputKind], folder: Path, name: str) -> None:
        self._origin = origin
        self._table = StoredTable(folder / f"{name}-{origin.digest}")
        self._rows = TableFile(self._table.folder, types, (), name)

    def read(self) -> pd.DataFrame:
        """Return all rows, after those that are new were appended to the copy.

        Raises:
            SettingsError: the variable is not set, or holds no address.
            ToolError: the database does not answer, or refuses the query.
            DatasetMissing: there is no row.
            MalformedInput: a column is missing, a value is of another type, or a row has no high-water mark.
        """
        self.refresh()
        return self._rows.read()

    @property
    def folder(self) -> Path:
        """Return the folder of the copy."""
        return self._table.folder

    def refresh(self) -> int:
        """Append the new rows to the copy and return how many they are; raises as `read`."""
        return refresh(self._origin, self._table)

    def revision(self) -> str:
        return self._rows.revision()

    def terms(self) -> str:
        return self._rows.terms()


def refresh(origin: Origin, table: StoredTable) -> int:
    """Bring the copy up to date, and return how many rows were added; raises as `SqlRows.read`."""
    with table.writing():
        notes = table.notes()
        if any(note.get("origin") != origin.digest for note in notes):
            raise MalformedInput(
                f"the table {table.folder.name} is of another file, query or --high-water",
                hint="give it another name",
            )
        if origin.high_water is None:
            rows = fetch(origin, None)
            if rows.num_rows:
                table.clear()
        else:
            mark = _stored_mark(notes[-1]["mark"]) if notes else None
            rows = fetch(origin, mark)
        if rows.num_rows:
            mark_of = {"mark": _noted_mark(_mark(origin, rows))} if origin.high_water else {}
            table.add(rows, {"origin": origin.digest} | mark_of)
        elif not notes or origin.high_water is None:
            raise DatasetMissing(f"{_what(origin)} has no rows", hint="correct the query, or fill the table")
        return rows.num_rows


def fetch(origin: Origin, mark: Any) -> pa.Table:
    """Return the rows above a mark (all where it is None) in the types that the database gives.

    Raises:
        As `SqlRows.read`.
    """
    engine = _engine(origin.connection)
    try:
        with engine.connect() as connection:
            quote = engine.dialect.identifier_preparer.quote
            where = ""
            if origin.high_water is not None:
                column = quote(origin.high_water)
                # A row without a mark is read, so that it is refused.
                above = "" if mark is None else f" WHERE {column} > :mark OR {column} IS NULL"
                where = f"{above} ORDER BY {column}"
            select = sa.text(f"SELECT * FROM {_rows_of(origin, quote)}{where}")  # noqa: S608 the spec's own query
            options = {"stream_results": True, "yield_per": BATCH}
            parameters = {} if mark is None or origin.high_water is None else {"mark": mark}
            result = connection.execution_options(**options).execute(select, parameters)
            names = list(result.keys())
            batches = [_arrow(names, batch, origin) for batch in result.partitions()]
    except sa.exc.SQLAlchemyError as error:
        raise ToolError(
            f"{_what(origin)} cannot be read: {_cause(error)}",
            hint="check the query, and that the account may read",
        ) from error
    finally:
        engine.dispose()
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise MalformedInput(f"{_what(origin)} has {', '.join(twice)} twice", hint="name each column once")
    if not batches:
        return pa.table({name: pa.array([], pa.null()) for name in names})
    try:
        return pa.concat_tables(batches, promote_options="permissive")
    except pa.ArrowException as error:
        raise MalformedInput(f"{_what(origin)}: {error}", hint="cast the column in the query") from error


@contextmanager
def connected(variable: str, dialects: Collection[str]) -> Iterator[sa.Connection]:
    """Yield a connection in a transaction that ends with the block, tables that are made in it included.

    Args:
        variable: environment variable with the address of a database.
        dialects: kinds of databases that are allowed.

    Raises:
        SettingsError: the variable is not set, or holds no address of such a database.
        ToolError: the database refuses something.
    """
    engine = _engine(variable)
    if engine.dialect.name not in dialects:
        raise SettingsError(
            f"{variable} is a database of the kind {engine.dialect.name}",
            hint=f"known: {', '.join(dialects)}",
        )
    if engine.dialect.name == "sqlite":
        # The driver would commit a new table by itself.
        sa.event.listen(engine, "connect", lambda driver, _: setattr(driver, "isolation_level", None))
        sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        with engine.begin() as connection:
            yield connection
    except sa.exc.SQLAlchemyError as error:
        raise ToolError(
            f"{variable}: {_cause(error)}", hint="check that the account may make tables, and what is in it"
        ) from error
    finally:
        engine.dispose()


def _cause(error: sa.exc.SQLAlchemyError) -> str:
    cause = str(getattr(error, "orig", None) or error).strip().splitlines()
    return cause[0] if cause else type(error).__name__


def _engine(variable: str) -> sa.Engine:
    address = os.environ.get(variable)
    if not address:
        raise SettingsError(
            f"{variable} is not set",
            hint="it holds the address of the database, such as postgresql+psycopg://reader@host/shop",
        )
    try:
        return sa.create_engine(address, hide_parameters=True)
    except (sa.exc.ArgumentError, ImportError) as error:  # their texts may hold the password
        raise SettingsError(
            f"{variable} is no address of a database ({type(error).__name__})",
            hint="an example: postgresql+psycopg://reader@host/shop, with the package of its driver installed",
        ) from None


def _rows_of(origin: Origin, quote: Any) -> str:
    if origin.query is None:
        return ".".join(quote(part) for part in (origin.table or "").split("."))
    # Inside brackets a statement can only read. A colon is no parameter of ours.
    text = re.sub(r"(?<!:):(?=\w)", r"\\:", origin.query.strip().rstrip(";"))
    return f"({text}\n) AS source_rows"


def _arrow(names: list[str], batch: Any, origin: Origin) -> pa.Table:
    arrays = []
    for place, name in enumerate(names):
        values = [_plain(row[place]) for row in batch]
        try:
            arrays.append(pa.array(values))
        except pa.ArrowException as error:
            raise MalformedInput(
                f"{_what(origin)}: the column {name} has values of several types: {error}",
                hint="cast it in the query",
            ) from error
    return pa.table(arrays, names=names)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, UUID) else value


def _mark(origin: Origin, rows: pa.Table) -> Any:
    if origin.high_water not in rows.column_names:
        raise MalformedInput(
            f"{_what(origin)} has no column {origin.high_water}",
            hint=f"it has {', '.join(rows.column_names)[:500]}",
        )
    column = rows[origin.high_water]
    if column.null_count:
        raise MalformedInput(
            f"{_what(origin)}: {column.null_count} rows have no {origin.high_water}",
            hint="data.source.high_water needs a value in every row: these rows would never be read again",
        )
    return column[-1].as_py()


def _noted_mark(mark: Any) -> dict[str, Any]:
    if isinstance(mark, datetime | date):
        return {"time" if isinstance(mark, datetime) else "day": mark.isoformat()}
    return {"number": str(mark)} if isinstance(mark, Decimal) else {"value": mark}


def _stored_mark(noted: dict[str, Any]) -> Any:
    if "time" in noted:
        return datetime.fromisoformat(noted["time"])
    if "number" in noted:
        return Decimal(noted["number"])
    return date.fromisoformat(noted["day"]) if "day" in noted else noted["value"]


def _what(origin: Origin) -> str:
    return f"{'the query' if origin.query else f'the table {origin.table}'} of {origin.connection}"
