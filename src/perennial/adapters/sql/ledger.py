"""The ledger in our SQL database: a chain of rows, and a note of its end that whoever appends locks."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from heapq import merge
from itertools import islice

from pydantic import ValidationError
from sqlalchemy import Connection, Row, Select, select
from sqlalchemy.exc import IntegrityError

from perennial.adapters.sql import schema as tables
from perennial.adapters.sql.schema import Database, entry_field
from perennial.core.events import Entry, LedgerRow
from perennial.core.frozen import canonical
from perennial.core.governance.ledger import StoredRow, chain
from perennial.errors import LedgerBroken

CHUNK = 500
BATCH = 20
"""Rows read ahead where a few of the newest are wanted."""
NOTE = select(tables.ledger_head.c.seq, tables.ledger_head.c.hash)
COMPARE = "somebody changed the table; compare with an export or a backup"


class SqlLedger:
    """Ledger: appending locks the one row that holds the end of the chain."""

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
        # One query a kind: the index gives each in order, and only what is taken is read.
        queries = [query.where(entry_field(table.c.entry, "kind") == kind) for kind in set(kinds)] or [query]
        with self._database.reading(damaged=True) as connection:
            backwards = [
                connection.execute(one.order_by(table.c.seq.desc()).execution_options(yield_per=BATCH))
                for one in queries
            ]
            merged = map(_row, merge(*backwards, key=lambda row: row.seq, reverse=True))
            early = (row for row in merged if until is None or row.entry.at <= until)
            return list(islice(early, newest))[::-1]

    def stored(self) -> Iterator[StoredRow]:
        with self._database.reading(damaged=True) as connection:
            yield from _stored(connection)

    def end(self) -> tuple[int, str]:
        with self._database.reading(damaged=True) as connection:
            return _end(connection, NOTE)

    def snapshot(self) -> tuple[tuple[int, str], list[StoredRow]]:
        with self._database.reading(damaged=True) as connection:
            return _end(connection, NOTE), list(_stored(connection))


def append_entry(connection: Connection, entry: Entry) -> LedgerRow:
    """Within the transaction of what the entry tells of."""
    seq, last = _end(connection, NOTE.with_for_update())
    row = chain(entry, seq + 1, last)
    body = canonical(entry.model_dump(mode="json"))
    new = {"seq": row.seq, "model": entry.model, "entry": body, "previous": row.previous, "hash": row.hash}
    try:
        connection.execute(tables.ledger.insert().values(**new))
    except IntegrityError as error:  # not a conflict: whoever appends has locked the note of the end
        raise LedgerBroken(
            f"entry {row.seq} is there already: the note of the ledger's end was set back", hint=COMPARE
        ) from error
    connection.execute(tables.ledger_head.update().values(seq=row.seq, hash=row.hash))
    return row


def _end(connection: Connection, query: Select) -> tuple[int, str]:
    notes = connection.execute(query).all()
    if len(notes) != 1:
        raise LedgerBroken(f"{len(notes)} notes of the ledger's end instead of one", hint=COMPARE)
    return tuple(notes[0])


def _stored(connection: Connection) -> Iterator[StoredRow]:
    table = tables.ledger
    columns = (table.c.seq, table.c.model, table.c.entry, table.c.previous, table.c.hash)
    query = select(*columns).order_by(table.c.seq).execution_options(yield_per=CHUNK)
    return (StoredRow(*row) for row in connection.execute(query))


def _row(stored: Row) -> LedgerRow:
    try:
        entry = Entry.model_validate_json(stored.entry)
        return LedgerRow(seq=stored.seq, entry=entry, previous=stored.previous, hash=stored.hash)
    except ValidationError as error:
        raise LedgerBroken(
            f"entry {stored.seq} of the ledger cannot be read: {error.errors()[0]['msg']}", hint=COMPARE
        ) from error


def _day_after(until: datetime) -> str:
    """A text above that of every time up to `until`, in whatever zone and precision it is written. SQL leaves
    out what is certainly later; the rest is compared as times."""
    return (until.astimezone(UTC) + timedelta(days=2)).date().isoformat()
