"""The reviews of the FeedbackStore port over the SQL database: a row per change, so that the history stays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select

from perennial.adapters.sql.chain_rows import HEAD
from perennial.adapters.sql.database import Database
from perennial.adapters.sql.label_changes import note_changes
from perennial.adapters.sql.schema import EPOCH, entry_field, ledger, microseconds
from perennial.adapters.sql.schema import reviews as table
from perennial.adapters.sql.upsert import insert
from perennial.core.events import Entry, Event
from perennial.core.governance.reviews import MOST_CHANGES, ForgottenComments, Review, StoredReview
from perennial.ports.traffic import BySource

ORDER = (table.c.received_us, table.c.digest)
LATEST = (table.c.seen_us, table.c.received_us, table.c.digest)
"""Order in which a review replaces another; a review that is received again is seen later."""
NUMBERS = select(table.c.source, table.c.prediction_id, table.c.number).order_by(*LATEST)


def put_reviews(
    database: Database,
    reviews: Sequence[tuple[Review, float | None]],
    received: datetime,
    source: str,
    models: Mapping[str, str],
) -> tuple[int, tuple[str, ...]]:
    """Store reviews as `FeedbackStore.put_reviews` says.

    The head of the ledger is locked, so that no rule about comments comes between reading the rules and the commit.
    """
    changed, refused = 0, []
    touched: dict[str, str] = {}
    received_us = microseconds(received)
    with database.writing() as connection:
        connection.execute(HEAD.with_for_update())
        rules = forgotten_of(connection, source)
        for given, number in reviews:
            review, name = given, given.prediction_id
            for rule in rules:
                # First in the store: a review that is read again then differs from its row in nothing.
                touched |= _forget(connection, rule, name)
                if rule.covers(source, name, received):
                    review = review.without_comment
            mine = (table.c.prediction_id == name) & (table.c.source == source)
            known = connection.execute(select(*LATEST).where(mine).order_by(*LATEST)).all()
            if any((row.received_us, row.digest) == (received_us, review.digest) for row in known):
                continue
            before = [row for row in known if row.received_us <= received_us]
            if before and before[-1].digest == review.digest:
                same = (table.c.received_us == before[-1].received_us) & (table.c.digest == review.digest)
                touched[name] = models[name]
                seen_us = max(before[-1].seen_us, received_us)
                connection.execute(table.update().where(mine, same).values(seen_us=seen_us))
                continue
            if len(known) >= MOST_CHANGES:
                refused.append(name)
                continue
            row = {
                "prediction_id": name,
                "source": source,
                "received_us": received_us,
                "digest": review.digest,
                "seen_us": received_us,
                "model": models[name],
                "body": review.model_dump_json(),
                "number": number,
            }
            connection.execute(insert(connection, table).on_conflict_do_nothing(), [row])
            touched[name] = models[name]
            changed += 1
        note_changes(connection, touched, touched)
    return changed, tuple(refused)


def read_reviews(database: Database, model: str | None, since: datetime | None) -> list[StoredReview]:
    """Return the reviews, oldest first."""
    query = select(table).order_by(*ORDER)
    if model is not None:
        query = query.where(table.c.model == model)
    if since is not None:
        query = query.where(table.c.seen_us >= microseconds(since))
    with database.reading() as connection:
        rows = connection.execute(query).all()
    current = {
        (row.prediction_id, row.source): row
        for row in sorted(rows, key=lambda row: (row.seen_us, row.received_us, row.digest))
    }
    return [
        StoredReview(
            at=EPOCH + timedelta(microseconds=row.received_us),
            source=row.source,
            model=row.model,
            review=Review.model_validate_json(row.body),
            number=row.number,
            current=current[row.prediction_id, row.source] is row,
        )
        for row in rows
        if since is None or row.received_us >= microseconds(since)
    ]


def read_reviewed(database: Database, since: datetime | None) -> BySource:
    """Return the right values of the current reviews that name one."""
    query = NUMBERS if since is None else NUMBERS.where(table.c.seen_us >= microseconds(since))
    with database.reading() as connection:
        return _newest(connection.execute(query))


def reviewed_of(database: Database, predictions: Iterable[Sequence[str]]) -> BySource:
    """Return the right values of the current reviews of predictions that name one.

    Args:
        predictions: ids, in parts that fit into one query.
    """
    with database.reading() as connection:
        return _newest(
            row
            for names in predictions
            for row in connection.execute(NUMBERS.where(table.c.prediction_id.in_(names)))
        )


def _newest(rows: Iterable[Any]) -> BySource:
    """Return the right values of reviews that come in the order `LATEST`."""
    newest: dict[str, dict[str, float | None]] = {}
    for source, name, number in rows:
        newest.setdefault(source, {})[name] = number
    return {
        source: {name: number for name, number in named.items() if number is not None}
        for source, named in newest.items()
    }


def forgotten_of(connection: Connection, source: str) -> list[ForgottenComments]:
    """Return the rules of the ledger that delete comments of a source."""
    kind = entry_field(ledger.c.entry, "kind") == Event.COMMENTS_FORGOTTEN.value
    bodies = connection.execute(select(ledger.c.entry).where(kind).order_by(ledger.c.seq)).scalars()
    rules = [ForgottenComments.read(Entry.model_validate_json(body)) for body in bodies]
    return [rule for rule in rules if rule.source == source]


def forget_comments(database: Database, rule: ForgottenComments) -> int:
    """Delete the comments of a rule, also in the history; return how many reviews had one."""
    with database.writing() as connection:
        forgotten = _forget(connection, rule, rule.prediction)
        models = dict(forgotten)
        note_changes(connection, models, models)
    return len(forgotten)


def _forget(connection: Connection, rule: ForgottenComments, prediction: str | None) -> list[tuple[str, str]]:
    """Delete the comments of a rule about a prediction or all; return prediction and model of each such review."""
    mine = (table.c.source == rule.source) & (table.c.received_us <= microseconds(rule.until))
    for name in {prediction, rule.prediction} - {None}:
        mine &= table.c.prediction_id == name
    forgotten = []
    for row in connection.execute(select(table).where(mine).order_by(table.c.prediction_id, *ORDER)).all():
        review = Review.model_validate_json(row.body)
        if review.comment is None:
            continue
        kept = review.without_comment
        same = mine & (table.c.prediction_id == row.prediction_id) & (table.c.digest == row.digest)
        connection.execute(
            table.update()
            .where(same, table.c.received_us == row.received_us)
            .values(body=kept.model_dump_json(), digest=kept.digest)
        )
        forgotten.append((row.prediction_id, row.model))
    return forgotten
