"""The DetectorStore port over the SQL database: a row per model; an UPDATE compares and sets its revision."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from perennial.adapters.sql.database import Database
from perennial.adapters.sql.schema import detectors as table
from perennial.core.monitoring.harm_detector import DetectorState


class SqlDetectors:
    """DetectorStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self, model: str) -> tuple[int, DetectorState] | None:
        query = select(table.c.revision, table.c.body).where(table.c.model == model)
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else (row.revision, DetectorState.model_validate_json(row.body))

    def save(self, model: str, state: DetectorState, expected: int | None) -> bool:
        body = state.model_dump_json()
        try:
            with self._database.writing() as connection:
                if expected is None:
                    connection.execute(table.insert().values(model=model, revision=0, body=body))
                    return True
                mine = (table.c.model == model) & (table.c.revision == expected)
                changed = connection.execute(
                    table.update().where(mine).values(revision=expected + 1, body=body)
                )
                return changed.rowcount == 1
        except IntegrityError:
            return False  # another process was first
