"""The BatchParts port whose result is a table of a database, and a second table for the rejected rows (SQLAlchemy)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from perennial.adapters.batch.parts import REJECTED, SCORED, PartFiles
from perennial.adapters.tables.sql_rows import connected
from perennial.core.batch.plan import ROW
from perennial.errors import ToolError, UsageError

TRANSACTIONAL = ("postgresql", "sqlite")
"""Databases that make a table and fill it in one transaction."""
ROWS = 5000


@dataclass(frozen=True)
class TableParts(PartFiles):
    """Parts in files, as of a result that is a file; the tables appear at the end, with all their rows.

    Args:
        out: names the folder of the parts (`parts_of`).
        connection: environment variable with the address of the database.
        table: NAME or SCHEMA.NAME.
    """

    connection: str
    table: str

    def finish(self) -> tuple[str, str | None]:
        self._start_finishing()
        rejected = self._parts(REJECTED)
        with self._begun() as connection:
            self._fill(connection, self.table, self._parts(SCORED))
            if rejected:
                self._fill(connection, f"{self.table}_{REJECTED}", rejected)
        tables = [f"the table {name} of {self.connection}" for name in self._names]
        return tables[0], tables[1] if rejected else None

    @property
    def _names(self) -> tuple[str, str]:
        return self.table, f"{self.table}_{REJECTED}"

    def _refuse_result(self) -> None:
        with self._begun() as connection:
            for name in self._names:
                if _exists(connection, name):
                    raise UsageError(
                        f"{self.connection} has a table {name} already", hint="drop it, or name another OUT"
                    )

    def _begun(self) -> Any:
        return connected(self.connection, TRANSACTIONAL)

    def _fill(self, connection: sa.Connection, name: str, parts: list[Path]) -> None:
        """Make a table of parts; where a run was killed after the tables were made, they are as they should be."""
        rows = sum(batch.num_rows for batch in _batches(parts))
        if _exists(connection, name):
            schema, table = _split(name)
            counted = sa.select(sa.func.count()).select_from(sa.table(table, schema=schema))
            if connection.execute(counted).scalar_one() == rows:
                return
            raise UsageError(f"{self.connection} has a table {name} of others", hint="drop it, and go on")
        with pa.ipc.open_file(parts[0]) as reader:
            table = _table(name, reader.schema)
        table.create(connection)
        for batch in _batches(parts):
            for start in range(0, batch.num_rows, ROWS):
                connection.execute(table.insert(), batch.slice(start, ROWS).to_pylist())


def parts_of(folder: Path, connection: str, table: str) -> Path:
    """Return the name of the result below `folder`, by which an unfinished batch into a table is found again."""
    key = hashlib.sha256(repr((connection, table)).encode()).hexdigest()[:12]
    return folder / f"{key}.parquet"


def _exists(connection: sa.Connection, name: str) -> bool:
    schema, table = _split(name)
    return sa.inspect(connection).has_table(table, schema=schema)


def _split(name: str) -> tuple[str | None, str]:
    schema, _, table = name.rpartition(".")
    return schema or None, table


def _table(name: str, schema: pa.Schema) -> sa.Table:
    place, table = _split(name)
    columns = [
        sa.Column(field.name, _type(field), primary_key=field.name == ROW, autoincrement=False)
        for field in schema
    ]
    return sa.Table(table, sa.MetaData(), *columns, schema=place)


def _type(field: pa.Field) -> sa.types.TypeEngine[Any]:
    kinds: list[tuple[Any, sa.types.TypeEngine[Any]]] = [
        (pa.types.is_boolean, sa.Boolean()),
        (pa.types.is_integer, sa.BigInteger()),
        (pa.types.is_floating, sa.Double()),
        (pa.types.is_timestamp, sa.DateTime(timezone=True)),
        (pa.types.is_date, sa.Date()),
        (pa.types.is_string, sa.Text()),
        (pa.types.is_null, sa.Text()),
    ]
    for is_kind, kind in kinds:
        if is_kind(field.type):
            return kind
    raise ToolError(
        f"{field.name} is {field.type}, which no table has", hint="leave it out of --keep, or write a file"
    )


def _batches(parts: list[Path]) -> Iterator[pa.RecordBatch]:
    for part in parts:
        with pa.ipc.open_file(part) as reader:
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number)
