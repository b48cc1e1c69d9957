"""The two questions that an emergency rollback has to the database, by the standard library.

Who acts, and whether a person took the version out of use. Importing SQLAlchemy takes longer than all the rest
of a rollback; where the database is another one than SQLite, `sql_tokens` and `sql_store` answer instead.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from contextlib import closing
from pathlib import Path

from perennial.core.events import Entry, LedgerRow
from perennial.core.governance.tokens import Token
from perennial.errors import StoreUnavailable

BUSY_SECONDS = 2.0


class SqliteReads:
    """`find` of TokenStore and `rows` of Ledger, without their other methods; an absent table is empty.

    Args:
        file: of the database of the releases.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def find(self, token_id: str) -> Token | None:
        found = self._ask("perennial_token", "SELECT body FROM perennial_token WHERE id = ?", token_id)
        return Token.model_validate_json(found[0][0]) if found else None

    def rows(self, model: str, *, kinds: Collection[str]) -> list[LedgerRow]:
        found: list[LedgerRow] = []
        for kind in kinds:
            query = (
                "SELECT seq, entry, previous, hash FROM perennial_ledger WHERE model = ? AND "
                "(CASE WHEN json_valid(entry) THEN json_extract(entry, '$.kind') END) = ?"
            )
            found += [
                LedgerRow(seq=seq, entry=Entry.model_validate_json(entry), previous=previous, hash=digest)
                for seq, entry, previous, digest in self._ask("perennial_ledger", query, model, kind)
            ]
        return sorted(found, key=lambda row: row.seq)

    def _ask(self, table: str, query: str, *values: str) -> list[tuple]:
        if not self._file.exists():
            return []
        try:
            address = f"{self._file.resolve().as_uri()}?mode=ro"
            with closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS)) as connection:
                there = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone()
                return connection.execute(query, values).fetchall() if there else []
        except sqlite3.Error as error:
            raise StoreUnavailable(
                f"{self._file}: {error}", hint="is the file a database, and can it be read?"
            ) from error
