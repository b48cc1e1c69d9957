"""Rows and head of the ledger as they are stored, read in a transaction of the caller."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, Select, select

from perennial.adapters.sql import schema as tables
from perennial.core.governance.ledger import COMPARE, StoredRow
from perennial.errors import LedgerBroken

CHUNK = 500
HEAD = select(tables.ledger_head.c.seq, tables.ledger_head.c.hash)


def stored_end(connection: Connection, query: Select[tuple[int, str]] = HEAD) -> tuple[int, str]:
    """Return sequence number and hash of the stored head.

    Raises:
        LedgerBroken: the head is lost.
    """
    heads = connection.execute(query).all()
    if len(heads) != 1:
        raise LedgerBroken(f"{len(heads)} notes of the ledger's end instead of one", hint=COMPARE)
    return heads[0].seq, heads[0].hash


def stored_rows(connection: Connection) -> Iterator[StoredRow]:
    """Return all rows in order, read in chunks."""
    table = tables.ledger
    columns = (table.c.seq, table.c.model, table.c.entry, table.c.previous, table.c.hash)
    query = select(*columns).order_by(table.c.seq).execution_options(yield_per=CHUNK)
    return (StoredRow(*row) for row in connection.execute(query))
