"""Releases, intents, ledger, feedback and deliveries in an SQL database, with SQLAlchemy Core."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from types import MappingProxyType
from typing import TypeVar

from sqlalchemy import ColumnElement, Connection, func, select, true
from sqlalchemy.exc import IntegrityError

from perennial.adapters.sql import schema as tables
from perennial.adapters.sql.database import Database
from perennial.adapters.sql.deliveries import SqlDeliveries
from perennial.adapters.sql.detectors import SqlDetectors
from perennial.adapters.sql.label_changes import note_changes, read_changes
from perennial.adapters.sql.ledger import SqlLedger, append_entry
from perennial.adapters.sql.reviews import (
    forget_comments,
    forgotten_of,
    put_reviews,
    read_reviewed,
    read_reviews,
    reviewed_of,
)
from perennial.adapters.sql.schema import microseconds
from perennial.adapters.sql.upsert import insert
from perennial.core.events import Entry
from perennial.core.governance.reviews import ForgottenComments, Review, StoredReview
from perennial.core.release.phase import Phase
from perennial.core.release.status import Intent, ReleaseStatus
from perennial.errors import ReleaseConflict
from perennial.ports.traffic import BySource

Item = TypeVar("Item")
LABEL, REWARD = "label", "reward"
CHUNK = 500
ACTIVE = sorted(phase.value for phase in Phase if not phase.is_final())
KEPT = 2000
"""Ended releases that a process keeps after it has read them."""


class SqlStore:
    """Six ports over a database; they share its transactions.

    Args:
        url: an SQLAlchemy address: `sqlite:///<file>` or `postgresql+psycopg://...`.
    """

    def __init__(self, url: str, tenant: str | None = None) -> None:
        database = Database(url, tenant)
        self.releases = SqlReleases(database)
        self.intents = SqlIntents(database)
        self.ledger = SqlLedger(database)
        self.feedback = SqlFeedback(database)
        self.deliveries = SqlDeliveries(database)
        self.detectors = SqlDetectors(database)


class SqlReleases:
    """ReleaseStore: a single UPDATE compares and sets; ledger entries are in the same transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ended: OrderedDict[tuple[str, int], ReleaseStatus] = OrderedDict()

    def load(self, release_id: str) -> ReleaseStatus | None:
        query = select(tables.releases.c.body).where(tables.releases.c.release_id == release_id)
        matches = self._database.values(query, ReleaseStatus)
        return matches[0] if matches else None

    def latest(self, model: str) -> list[ReleaseStatus]:
        """Return all releases of a model, newest first; the text of an ended one is read once by this object."""
        table = tables.releases
        query = select(table.c.release_id, table.c.revision, table.c.phase).where(table.c.model == model)
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(table.c.started_us.desc(), table.c.release_id)).all()
            known = {
                row.release_id: status
                for row in rows
                if (status := self._ended.get((row.release_id, row.revision))) is not None
            }
            for names in _chunks([row.release_id for row in rows if row.release_id not in known]):
                bodies = select(table.c.body).where(table.c.release_id.in_(names))
                for body in connection.execute(bodies).scalars():
                    status = ReleaseStatus.model_validate_json(body)
                    known[status.release_id] = status
                    self._keep(status)
        return [known[row.release_id] for row in rows]

    def active(self, model: str | None = None) -> list[ReleaseStatus]:
        table = tables.releases
        query = select(table.c.body).where(table.c.phase.in_(ACTIVE))
        if model is not None:
            query = query.where(table.c.model == model)
        newest_first = query.order_by(table.c.started_us.desc(), table.c.release_id)
        return self._database.values(newest_first, ReleaseStatus)

    def _keep(self, status: ReleaseStatus) -> None:
        """Keep an ended release: no later save changes what a revision says."""
        if status.phase.is_final():
            self._ended[status.release_id, status.revision] = status
            if len(self._ended) > KEPT:
                self._ended.popitem(last=False)

    def save(self, status: ReleaseStatus, expected: int | None, entries: Sequence[Entry]) -> ReleaseStatus:
        saved = status.model_copy(update={"revision": 0 if expected is None else expected + 1})
        try:
            with self._database.writing() as connection:
                self._write(connection, saved, expected)
                for entry in entries:
                    append_entry(connection, entry)
        except IntegrityError as error:
            raise _conflict(status) from error
        return saved

    def note_pass(self, release_id: str, at: datetime) -> None:
        with self._database.writing() as connection:
            statement = insert(connection, tables.release_passes)
            row = statement.values(release_id=release_id, at_us=microseconds(at))
            at_us = {"at_us": statement.excluded.at_us}
            connection.execute(row.on_conflict_do_update(index_elements=["release_id"], set_=at_us))

    def last_pass(self, release_id: str) -> datetime | None:
        table = tables.release_passes
        query = select(table.c.at_us).where(table.c.release_id == release_id)
        with self._database.reading() as connection:
            at_us = connection.execute(query).scalar()
        return None if at_us is None else tables.EPOCH + timedelta(microseconds=at_us)

    def _write(self, connection: Connection, saved: ReleaseStatus, expected: int | None) -> None:
        table = tables.releases
        values = {
            "revision": saved.revision,
            "phase": saved.phase.value,
            "body": saved.model_dump_json(),
        }
        if expected is None:
            started = {"model": saved.model, "started_us": microseconds(saved.started_at)}
            connection.execute(table.insert().values(release_id=saved.release_id, **started, **values))
            return
        mine = (table.c.release_id == saved.release_id) & (table.c.revision == expected)
        if connection.execute(table.update().where(mine).values(**values)).rowcount != 1:
            raise _conflict(saved)


class SqlIntents:
    """Intents: two intents with the same id count once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, intent: Intent) -> None:
        with self._database.writing() as connection:
            row = {"id": intent.id, "release_id": intent.release_id, "body": intent.model_dump_json()}
            statement = insert(connection, tables.intents).values(**row)
            connection.execute(statement.on_conflict_do_nothing(index_elements=["id"]))

    def pending(self, release_id: str) -> list[Intent]:
        table = tables.intents
        query = select(table.c.body).where(table.c.release_id == release_id).order_by(table.c.seq)
        return self._database.values(query, Intent)


class SqlFeedback:
    """FeedbackStore: the newest label and the newest reward of each prediction id by each source."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(
        self,
        labels: Mapping[str, float],
        received: datetime,
        source: str,
        models: Mapping[str, str] = MappingProxyType({}),
    ) -> int:
        with self._database.writing() as connection:
            changed = _put(connection, LABEL, labels, received, source)
            note_changes(connection, changed, models)
        return len(changed)

    def label_changes(self, model: str, after: int | None) -> tuple[int, frozenset[str] | None]:
        return read_changes(self._database, model, after)

    def labels_of(self, predictions: Collection[str]) -> BySource:
        about = tables.feedback.c.prediction_id
        return self._values(LABEL, (about.in_(names) for names in _chunks(predictions)))

    def labels(self, since: datetime | None = None) -> BySource:
        return self._values(LABEL, [_since(since)])

    def label_times(self, since: datetime | None = None) -> Mapping[str, float]:
        table = tables.feedback
        first = func.min(table.c.received_us)
        query = select(table.c.prediction_id, first).where(table.c.kind == LABEL)
        if since is not None:
            query = query.where(table.c.received_us >= microseconds(since))
        with self._database.reading() as connection:
            rows = connection.execute(query.group_by(table.c.prediction_id)).all()
        return {name: received / 1e6 for name, received in rows}

    def put_rewards(self, rewards: Mapping[str, float], received: datetime, source: str) -> int:
        with self._database.writing() as connection:
            return len(_put(connection, REWARD, rewards, received, source))

    def rewards(self, since: datetime | None = None) -> BySource:
        return self._values(REWARD, [_since(since)])

    def put_reviews(
        self,
        reviews: Sequence[tuple[Review, float | None]],
        received: datetime,
        source: str,
        models: Mapping[str, str],
    ) -> tuple[int, tuple[str, ...]]:
        return put_reviews(self._database, reviews, received, source, models)

    def reviews(self, model: str | None = None, since: datetime | None = None) -> list[StoredReview]:
        return read_reviews(self._database, model, since)

    def reviewed(self, since: datetime | None = None) -> BySource:
        return read_reviewed(self._database, since)

    def reviewed_of(self, predictions: Collection[str]) -> BySource:
        return reviewed_of(self._database, _chunks(predictions))

    def forget_comments(self, rule: ForgottenComments) -> int:
        return forget_comments(self._database, rule)

    def forgotten(self, source: str) -> list[ForgottenComments]:
        with self._database.reading() as connection:
            return forgotten_of(connection, source)

    def _values(self, kind: str, parts: Iterable[ColumnElement[bool]]) -> BySource:
        """Return source -> prediction id -> value of the rows that meet one of the conditions, a query each."""
        table = tables.feedback
        query = select(table.c.source, table.c.prediction_id, table.c.value).where(table.c.kind == kind)
        values: dict[str, dict[str, float]] = {}
        with self._database.reading() as connection:
            for part in parts:
                for source, name, value in connection.execute(query.where(part)):
                    values.setdefault(source, {})[name] = value
        return values


def _since(since: datetime | None) -> ColumnElement[bool]:
    """Return the condition of what was received at or after a time; None: of everything."""
    return true() if since is None else tables.feedback.c.received_us >= microseconds(since)


def _put(
    connection: Connection, kind: str, values: Mapping[str, float], received: datetime, source: str
) -> list[str]:
    """Store values that are not older than what is stored; return the predictions of those that are new or changed."""
    key = {"kind": kind, "source": source}
    chunks = (
        _put_chunk(connection, key, dict(chunk), microseconds(received)) for chunk in _chunks(values.items())
    )
    return [name for changed in chunks for name in changed]


def _put_chunk(
    connection: Connection, key: Mapping[str, str], values: Mapping[str, float], received_us: int
) -> list[str]:
    table = tables.feedback
    query = select(table.c.prediction_id, table.c.value, table.c.received_us).where(
        table.c.kind == key["kind"], table.c.source == key["source"], table.c.prediction_id.in_(values)
    )
    known = {name: (value, at_us) for name, value, at_us in connection.execute(query)}
    changed = [
        {**key, "prediction_id": name, "value": float(value), "received_us": received_us}
        for name, value in values.items()
        if name not in known or (known[name][0] != value and known[name][1] <= received_us)
    ]
    if changed:
        statement = insert(connection, table)
        replaced = {name: statement.excluded[name] for name in ("value", "received_us")}
        primary = ["kind", "prediction_id", "source"]
        newer = table.c.received_us <= statement.excluded.received_us  # two processes may store at once
        statement = statement.on_conflict_do_update(index_elements=primary, set_=replaced, where=newer)
        connection.execute(statement, changed)
    return [str(row["prediction_id"]) for row in changed]


def _conflict(status: ReleaseStatus) -> ReleaseConflict:
    return ReleaseConflict(
        f"release {status.release_id} of {status.model} was changed by another process",
        hint="read it again: perennial release status " + status.model,
    )


def _chunks(values: Iterable[Item]) -> Iterator[list[Item]]:
    rest = iter(values)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk
