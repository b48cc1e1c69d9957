"""The reviews of the FeedbackStore port over the SQL database: a row per change, so that the history stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from perennial.adapters.sql.database import Database
from perennial.adapters.sql.schema import EPOCH, microseconds
from perennial.adapters.sql.schema import reviews as table
from perennial.adapters.sql.upsert import insert
from perennial.core.governance.reviews import MOST_CHANGES, Review, StoredReview
from perennial.ports.traffic import BySource

ORDER = (table.c.received_us, table.c.digest)


def put_reviews(
    database: Database,
    reviews: Sequence[tuple[Review, float | None]],
    received: datetime,
    source: str,
    models: Mapping[str, str],
) -> tuple[int, tuple[str, ...]]:
    """Store reviews as `FeedbackStore.put_reviews` says."""
    changed, refused = 0, []
    with database.writing() as connection:
        for review, number in reviews:
            name = review.prediction_id
            row = {
                "prediction_id": name,
                "source": source,
                "received_us": microseconds(received),
                "digest": review.digest,
                "model": models[name],
                "body": review.model_dump_json(),
                "number": number,
            }
            known = _known(connection, name, source)
            before = [digest for received_us, digest in known if received_us <= row["received_us"]]
            if (row["received_us"], row["digest"]) in known or before[-1:] == [row["digest"]]:
                continue
            if len(known) >= MOST_CHANGES:
                refused.append(name)
                continue
            connection.execute(insert(connection, table).on_conflict_do_nothing(), [row])
            changed += 1
    return changed, tuple(refused)


def _known(connection: Connection, prediction: str, source: str) -> list[tuple[int, str]]:
    query = select(*ORDER).where(table.c.prediction_id == prediction, table.c.source == source)
    return [(received_us, digest) for received_us, digest in connection.execute(query.order_by(*ORDER))]


def read_reviews(database: Database, model: str | None, since: datetime | None) -> list[StoredReview]:
    """Return the reviews, oldest first."""
    query = select(table).order_by(*ORDER)
    if model is not None:
        query = query.where(table.c.model == model)
    if since is not None:
        query = query.where(table.c.received_us >= microseconds(since))
    with database.reading() as connection:
        rows = connection.execute(query).all()
    newest = {(row.prediction_id, row.source): place for place, row in enumerate(rows)}
    return [
        StoredReview(
            at=EPOCH + timedelta(microseconds=row.received_us),
            source=row.source,
            model=row.model,
            review=Review.model_validate_json(row.body),
            number=row.number,
            current=newest[row.prediction_id, row.source] == place,
        )
        for place, row in enumerate(rows)
    ]


def read_reviewed(database: Database, since: datetime | None) -> BySource:
    """Return the right values of the current reviews that name one."""
    columns = (table.c.source, table.c.prediction_id, table.c.number)
    query = select(*columns).order_by(*ORDER)
    if since is not None:
        query = query.where(table.c.received_us >= microseconds(since))
    newest: dict[str, dict[str, float | None]] = {}
    with database.reading() as connection:
        for source, name, number in connection.execute(query):
            newest.setdefault(source, {})[name] = number
    return {
        source: {name: number for name, number in named.items() if number is not None}
        for source, named in newest.items()
    }


def forget_comments(database: Database, source: str, prediction: str | None) -> int:
    """Delete the comments of a source, also in the history; return how many reviews had one."""
    mine = table.c.source == source
    if prediction is not None:
        mine &= table.c.prediction_id == prediction
    forgotten = 0
    with database.writing() as connection:
        for row in connection.execute(select(table).where(mine).order_by(*ORDER)).all():
            review = Review.model_validate_json(row.body)
            if review.comment is None:
                continue
            kept = review.model_copy(update={"comment": None})
            same = mine & (table.c.prediction_id == row.prediction_id) & (table.c.digest == row.digest)
            connection.execute(
                table.update()
                .where(same, table.c.received_us == row.received_us)
                .values(body=kept.model_dump_json(), digest=kept.digest)
            )
            forgotten += 1
    return forgotten
