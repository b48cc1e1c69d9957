"""Reads that an emergency rollback needs from SQLite, with the standard library only.

They find who acts, and whether a person took the version out of use. Importing SQLAlchemy takes longer than the
rest of a rollback. For other databases, `adapters.sql.tokens` and `adapters.sql.store` answer instead.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import Any

from perennial.core.events import Entry, LedgerRow
from perennial.core.governance.tokens import Token
from perennial.errors import StoreUnavailable
from perennial.state_folder import refuse_other

BUSY_SECONDS = 2.0


class SqliteReads:
    """`find` of TokenStore and `rows` of Ledger; an absent file or table is empty.

    Args:
        file: the SQLite file of the releases.
        tenant: whose file it must be; None: of a plant without a tenant.
    """

    def __init__(self, file: Path, tenant: str | None = None) -> None:
        self._file = file
        self._tenant = tenant

    def refuse_other_owner(self) -> None:
        """Refuse the file of another tenant; creates nothing.

        Raises:
            OtherTenant: it is not of the tenant of these settings.
        """
        if self._select("perennial_release", "SELECT 1"):  # else it is empty, and nobody's
            rows = self._select("perennial_tenant", "SELECT name FROM perennial_tenant")
            refuse_other(f"the database {self._file}", rows[0][0] if rows else None, self._tenant)

    def find(self, token_id: str) -> Token | None:
        bodies = self._query("perennial_token", "SELECT body FROM perennial_token WHERE id = ?", token_id)
        return Token.model_validate_json(bodies[0][0]) if bodies else None

    def rows(self, model: str, *, kinds: Collection[str]) -> list[LedgerRow]:
        query = (
            "SELECT seq, entry, previous, hash FROM perennial_ledger WHERE model = ? AND "
            "(CASE WHEN json_valid(entry) THEN json_extract(entry, '$.kind') END) IN "
            "(SELECT value FROM json_each(?)) ORDER BY seq"
        )
        rows = self._query("perennial_ledger", query, model, json.dumps(list(kinds)))
        return [
            LedgerRow(seq=seq, entry=Entry.model_validate_json(entry), previous=previous, hash=digest)
            for seq, entry, previous, digest in rows
        ]

    def _query(self, table: str, query: str, *values: str) -> list[tuple[Any, ...]]:
        self.refuse_other_owner()
        return self._select(table, query, *values)

    def _select(self, table: str, query: str, *values: str) -> list[tuple[Any, ...]]:
        if not self._file.exists():
            return []
        try:
            address = f"{self._file.resolve().as_uri()}?mode=ro"
            with closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS)) as connection:
                exists = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone()
                return connection.execute(query, values).fetchall() if exists else []
        except sqlite3.Error as error:
            raise StoreUnavailable(
                f"{self._file}: {error}", hint="check that the file is a readable SQLite database"
            ) from error
