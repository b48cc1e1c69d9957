"""The SQL rows of what every serving machine must hold."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, select

from perennial.adapters.sql.database import Database
from perennial.adapters.sql.schema import wanted as table
from perennial.adapters.sql.upsert import insert
from perennial.core.machine import Wanted, WantedKind

NEWEST = (table.c.kind == "") & (table.c.name == "")


class SqlWanted:
    """Rows of wanted things. Changes come one after the other: each takes the lock of the newest generation first."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def newest(self) -> int:
        """Return the generation of the last change; 0 before the first."""
        with self._database.reading() as connection:
            return connection.execute(select(table.c.generation).where(NEWEST)).scalar() or 0

    def after(self, generation: int) -> list[Wanted]:
        """Return the things that were changed after a generation, the oldest change first."""
        query = select(table).where(table.c.generation > generation, table.c.kind != "")
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(table.c.generation)).mappings().all()
        return [Wanted(**row) for row in rows]

    def find(self, kind: WantedKind, name: str) -> Wanted:
        """Return a thing; with an empty body and generation 0 where there never was one."""
        with self._database.reading() as connection:
            return _find(connection, kind, name)

    def change(self, kind: WantedKind, name: str, change: Callable[[str], str]) -> tuple[Wanted, Wanted]:
        """Replace the body of a thing by what `change` makes of it; the same body changes nothing.

        Returns:
            The thing before and after. What `change` raises is passed on, and nothing is written.
        """
        with self._database.writing() as connection:
            connection.execute(
                insert(connection, table)
                .values(kind="", name="", generation=0, body="")
                .on_conflict_do_nothing()
            )
            newest = connection.execute(
                select(table.c.generation).where(NEWEST).with_for_update()
            ).scalar_one()
            before = _find(connection, kind, name)
            body = change(before.body)
            if body == before.body:
                return before, before
            after = before.model_copy(update={"generation": newest + 1, "body": body})
            connection.execute(table.update().where(NEWEST).values(generation=newest + 1))
            statement = insert(connection, table).values(**after.model_dump(mode="json"))
            replaced = {"generation": after.generation, "body": body}
            connection.execute(
                statement.on_conflict_do_update(index_elements=["kind", "name"], set_=replaced)
            )
        return before, after


def _find(connection: Connection, kind: WantedKind, name: str) -> Wanted:
    query = select(table).where(table.c.kind == kind.value, table.c.name == name)
    row = connection.execute(query).mappings().one_or_none()
    return Wanted(kind=kind, name=name) if row is None else Wanted(**row)
