"""The order in which the labels and reviews of predictions were stored: a row per prediction, with its newest change.

The row without a prediction has the number of the newest change. Who stores labels locks it until the end of the
transaction, so that whoever has read a number has seen all changes before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, select

from perennial.adapters.sql.database import Database
from perennial.adapters.sql.schema import label_changes as table
from perennial.adapters.sql.upsert import insert

NEWEST = table.c.prediction_id == ""
UNNAMED = ""
"""Model of a prediction that was stored without the name of its model: a change of it is one of every model."""


def note_changes(connection: Connection, predictions: Iterable[str], models: Mapping[str, str]) -> None:
    """Note that the labels or reviews of these predictions were changed.

    The last statements of a transaction: one that holds the newest number waits for nobody.

    Args:
        models: prediction id -> its model.
    """
    names = sorted(set(predictions))
    if not names:
        return
    counter = insert(connection, table).values(prediction_id="", model="", number=1)
    number = connection.execute(
        counter.on_conflict_do_update(
            index_elements=["prediction_id"], set_={"number": table.c.number + 1}
        ).returning(table.c.number)
    ).scalar_one()
    statement = insert(connection, table)
    replaced = {name: statement.excluded[name] for name in ("model", "number")}
    connection.execute(
        statement.on_conflict_do_update(index_elements=["prediction_id"], set_=replaced),
        [{"prediction_id": name, "model": models.get(name, UNNAMED), "number": number} for name in names],
    )


def read_changes(database: Database, model: str, after: int | None) -> tuple[int, frozenset[str] | None]:
    """Return what `FeedbackStore.label_changes` says."""
    with database.reading() as connection:
        newest = connection.execute(select(table.c.number).where(NEWEST)).scalar() or 0
        if after is None or after == newest:
            return newest, frozenset()
        if after > newest:
            return newest, None
        query = select(table.c.prediction_id).where(
            table.c.model.in_((model, UNNAMED)), table.c.number > after, ~NEWEST
        )
        return newest, frozenset(connection.execute(query).scalars())
