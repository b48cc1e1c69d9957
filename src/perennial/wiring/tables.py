"""Tables that Perennial keeps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from perennial.settings import Settings

if TYPE_CHECKING:
    from perennial.adapters.tables.stored_table import StoredTable

MISSING = ("", "NA", "N/A", "#N/A", "n/a", "<NA>", "NaN", "nan", "NULL", "null")
"""Texts of a CSV file that stand for a missing value, beside those that a person names."""


def kept(settings: Settings, name: str) -> StoredTable:
    """Return a table by its name; it need not exist yet."""
    from perennial.adapters.tables.stored_table import StoredTable

    return StoredTable(settings.tables_dir / name)


def add_file(table: StoredTable, path: Path, missing: tuple[str, ...]) -> int:
    """Add a file and return how many rows are new; raises as `adapters.tables.file_import.add_file`."""
    from perennial.adapters.tables import file_import

    return file_import.add_file(table, path, tuple(dict.fromkeys([*MISSING, *missing])))


def add_query(settings: Settings, name: str, query: str, connection: str, high_water: str | None) -> int:
    """Add the new rows of a query and return how many they are; raises as `adapters.tables.sql_rows.SqlRows.read`."""
    from perennial.adapters.tables.sql_rows import Origin, refresh

    return refresh(Origin(connection, query, None, high_water), kept(settings, name))
