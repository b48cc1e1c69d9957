"""Tables that Perennial keeps: a folder of numbered Parquet files, of which each import or read adds one.

A part says in its metadata what it was made of, so that a part and what was read up to it become known together.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from perennial.errors import MalformedInput
from perennial.files import replacing

NOTE = b"perennial"


class StoredTable:
    """A table in a folder of its own, which `TableFile` reads.

    Args:
        folder: is made with the first part.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the lock: one process at a time reads what is new and adds it."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        # Two Unix accounts may share it, of which one made it.
        with FileLock(self.folder.with_name(f"{self.folder.name}.lock"), mode=0o660):
            yield

    def notes(self) -> list[dict[str, Any]]:
        """Return the note of each part, oldest first."""
        notes = []
        for path in self._parts():
            metadata = pq.read_schema(path).metadata or {}
            notes.append(json.loads(metadata.get(NOTE, b"{}")))
        return notes

    def add(self, rows: pa.Table, note: dict[str, Any]) -> None:
        """Add rows as a new part.

        Raises:
            MalformedInput: the rows have other columns than the table.
        """
        parts = self._parts()
        if parts and (known := pq.read_schema(parts[0]).names) != rows.column_names:
            lacking = [name for name in known if name not in rows.column_names]
            strange = [name for name in rows.column_names if name not in known]
            raise MalformedInput(
                f"the table {self.folder.name} lacks in the new rows {lacking}, and does not know {strange}",
                hint=f"its columns, in this order: {', '.join(known)[:500]}",
            )
        number = int(parts[-1].stem) + 1 if parts else 1
        with replacing(self.folder / f"{number:06}.parquet") as temporary:
            pq.write_table(rows.replace_schema_metadata({NOTE: json.dumps(note).encode()}), temporary)

    def clear(self) -> None:
        """Remove every part."""
        for path in self._parts():
            path.unlink()

    def exists(self) -> bool:
        return bool(self._parts())

    def rows(self) -> int:
        """Return the number of rows."""
        return sum(pq.read_metadata(path).num_rows for path in self._parts())

    def _parts(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*.parquet"))
