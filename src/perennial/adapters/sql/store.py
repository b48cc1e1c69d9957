"""Releases, intents, ledger and labels in one SQL database (SQLite or PostgreSQL), by SQLAlchemy Core."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice

from sqlalchemy import Connection, Table, select
from sqlalchemy.exc import IntegrityError

from perennial.adapters.sql import schema as tables
from perennial.adapters.sql.deliveries import SqlDeliveries
from perennial.adapters.sql.ledger import SqlLedger, append_entry
from perennial.adapters.sql.schema import Database
from perennial.core.events import Entry
from perennial.core.release.status import Intent, ReleaseStatus
from perennial.errors import ReleaseConflict

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CHUNK = 500


class SqlStore:
    """The five ports over one database; the tables are made at the first use.

    Args:
        url: an SQLAlchemy address: `sqlite:///<file>` or `postgresql+psycopg://...`.
    """

    def __init__(self, url: str) -> None:
        database = Database(url)
        self.releases = SqlReleases(database)
        self.intents = SqlIntents(database)
        self.ledger = SqlLedger(database)
        self.feedback = SqlFeedback(database)
        self.deliveries = SqlDeliveries(database)


class SqlReleases:
    """ReleaseStore: compare-and-set in one UPDATE, ledger entries in the same transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self, release_id: str) -> ReleaseStatus | None:
        query = select(tables.releases.c.body).where(tables.releases.c.release_id == release_id)
        with self._database.reading() as connection:
            body = connection.execute(query).scalar_one_or_none()
        return None if body is None else ReleaseStatus.model_validate_json(body)

    def latest(self, model: str) -> list[ReleaseStatus]:
        table = tables.releases
        query = (
            select(table.c.body)
            .where(table.c.model == model)
            .order_by(table.c.started_us.desc(), table.c.release_id)
        )
        with self._database.reading() as connection:
            bodies = connection.execute(query).scalars().all()
        return [ReleaseStatus.model_validate_json(body) for body in bodies]

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

    def _write(self, connection: Connection, saved: ReleaseStatus, expected: int | None) -> None:
        table = tables.releases
        values = {
            "revision": saved.revision,
            "phase": saved.phase.value,
            "body": saved.model_dump_json(),
        }
        if expected is None:
            started = {"model": saved.model, "started_us": _microseconds(saved.started_at)}
            connection.execute(table.insert().values(release_id=saved.release_id, **started, **values))
            return
        mine = (table.c.release_id == saved.release_id) & (table.c.revision == expected)
        if connection.execute(table.update().where(mine).values(**values)).rowcount != 1:
            raise _conflict(saved)


class SqlIntents:
    """Intents: the same id twice is one intent."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, intent: Intent) -> None:
        with self._database.writing() as connection:
            row = {"id": intent.id, "release_id": intent.release_id, "body": intent.model_dump_json()}
            statement = _insert(connection, tables.intents).values(**row)
            connection.execute(statement.on_conflict_do_nothing(index_elements=["id"]))

    def pending(self, release_id: str) -> list[Intent]:
        table = tables.intents
        query = select(table.c.body).where(table.c.release_id == release_id).order_by(table.c.seq)
        with self._database.reading() as connection:
            return [Intent.model_validate_json(body) for body in connection.execute(query).scalars()]


class SqlFeedback:
    """FeedbackStore: one label and one reward per prediction id, the newest that came."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, labels: Mapping[str, float], received: datetime) -> int:
        return self._put_all(tables.feedback, "label", labels, received)

    def labels(self, since: datetime | None = None) -> Mapping[str, float]:
        return self._values(tables.feedback, "label", since)

    def put_rewards(self, rewards: Mapping[str, float], received: datetime) -> int:
        return self._put_all(tables.rewards, "reward", rewards, received)

    def rewards(self, since: datetime | None = None) -> Mapping[str, float]:
        return self._values(tables.rewards, "reward", since)

    def _put_all(self, table: Table, column: str, values: Mapping[str, float], received: datetime) -> int:
        with self._database.writing() as connection:
            return sum(
                _put_values(connection, table, column, some, _microseconds(received))
                for some in _chunks(values)
            )

    def _values(self, table: Table, column: str, since: datetime | None) -> Mapping[str, float]:
        query = select(table.c.prediction_id, table.c[column])
        if since is not None:
            query = query.where(table.c.received_us >= _microseconds(since))
        with self._database.reading() as connection:
            return dict(connection.execute(query).all())


def _put_values(
    connection: Connection, table: Table, column: str, values: Mapping[str, float], received_us: int
) -> int:
    query = select(table.c.prediction_id, table.c[column]).where(table.c.prediction_id.in_(values))
    known = dict(connection.execute(query).all())
    news = [
        {"prediction_id": name, column: float(value), "received_us": received_us}
        for name, value in values.items()
        if name not in known or known[name] != value
    ]
    if news:
        statement = _insert(connection, table)
        replaced = {name: statement.excluded[name] for name in (column, "received_us")}
        connection.execute(
            statement.on_conflict_do_update(index_elements=["prediction_id"], set_=replaced), news
        )
    return len(news)


def _insert(connection: Connection, table):
    """INSERT with ON CONFLICT, which SQLAlchemy has per dialect."""
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert
    else:
        # A sixth of the start of every command that reads SQLite only.
        from sqlalchemy.dialects.postgresql import insert
    return insert(table)


def _conflict(status: ReleaseStatus) -> ReleaseConflict:
    return ReleaseConflict(
        f"release {status.release_id} of {status.model} was changed by somebody else",
        hint="read it again: perennial release status " + status.model,
    )


def _microseconds(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)


def _chunks(labels: Mapping[str, float]) -> Iterator[dict[str, float]]:
    rest = iter(labels.items())
    while some := dict(islice(rest, CHUNK)):
        yield some
