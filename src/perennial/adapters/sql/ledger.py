"""The Ledger port over the SQL database: a chain of rows, and its head, which an append locks."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from heapq import merge
from itertools import islice
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, Row, select
from sqlalchemy.exc import IntegrityError

from perennial.adapters.sql import schema as tables
from perennial.adapters.sql.chain_rows import HEAD, stored_end, stored_rows
from perennial.adapters.sql.database import Database
from perennial.adapters.sql.schema import entry_field
from perennial.core.events import Entry, LedgerRow
from perennial.core.frozen import canonical
from perennial.core.governance.ledger import COMPARE, StoredRow, chain
from perennial.errors import LedgerBroken

BATCH = 20
"""Rows read ahead where only the newest are wanted."""


class SqlLedger:
    """Ledger: an append locks the row that holds the end of the chain."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, entry: Entry) -> LedgerRow:
        with self._database.writing() as connection:
            return append_entry(connection, entry)

    def rows(
        self,
        model: str | None = None,
        *,
        kinds: Collection[str] = (),
        release_id: str | None = None,
        until: datetime | None = None,
        after: int | None = None,
        newest: int | None = None,
    ) -> list[LedgerRow]:
        table = tables.ledger
        query = select(table)
        if model is not None:
            query = query.where(table.c.model == model)
        if after is not None:
            query = query.where(table.c.seq > after)
        if release_id is not None:
            query = query.where(entry_field(table.c.entry, "release_id") == release_id)
        if until is not None:
            query = query.where(entry_field(table.c.entry, "at") < _day_after(until))
        # One query per kind: the index returns each in order, and only the needed rows are read.
        queries = [query.where(entry_field(table.c.entry, "kind") == kind) for kind in set(kinds)] or [query]
        with self._database.reading(damaged=True) as connection:
            backwards = [
                connection.execute(part.order_by(table.c.seq.desc()).execution_options(yield_per=BATCH))
                for part in queries
            ]
            merged = map(_row, merge(*backwards, key=lambda row: row.seq, reverse=True))
            in_time = (row for row in merged if until is None or row.entry.at <= until)
            return list(islice(in_time, newest))[::-1]

    def stored(self) -> Iterator[StoredRow]:
        with self._database.reading(damaged=True) as connection:
            yield from stored_rows(connection)

    def end(self) -> tuple[int, str]:
        with self._database.reading(damaged=True) as connection:
            return stored_end(connection)

    def snapshot(self) -> tuple[tuple[int, str], list[StoredRow]]:
        with self._database.reading(damaged=True) as connection:
            return stored_end(connection), list(stored_rows(connection))


def append_entry(connection: Connection, entry: Entry) -> LedgerRow:
    """Append an entry in the transaction of the change that it records."""
    seq, last = stored_end(connection, HEAD.with_for_update())
    row = chain(entry, seq + 1, last)
    body = canonical(entry.model_dump(mode="json"))
    new = {"seq": row.seq, "model": entry.model, "entry": body, "previous": row.previous, "hash": row.hash}
    try:
        connection.execute(tables.ledger.insert().values(**new))
    except IntegrityError as error:  # not a conflict: this transaction has locked the head
        raise LedgerBroken(
            f"entry {row.seq} exists already: the head of the ledger was set back", hint=COMPARE
        ) from error
    connection.execute(tables.ledger_head.update().values(seq=row.seq, hash=row.hash))
    return row


def _row(stored: Row[Any]) -> LedgerRow:
    try:
        entry = Entry.model_validate_json(stored.entry)
        return LedgerRow(seq=stored.seq, entry=entry, previous=stored.previous, hash=stored.hash)
    except ValidationError as error:
        raise LedgerBroken(
            f"entry {stored.seq} of the ledger cannot be read: {error.errors()[0]['msg']}", hint=COMPARE
        ) from error


def _day_after(until: datetime) -> str:
    """Return a text that sorts after every time up to `until`, in any zone and precision. SQL drops rows that are
    certainly later; the rest is compared as times."""
    return (until.astimezone(UTC) + timedelta(days=2)).date().isoformat()
