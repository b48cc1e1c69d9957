"""How far each channel has been told, in our SQL database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from perennial.adapters.sql.schema import Database
from perennial.adapters.sql.schema import delivery as table
from perennial.core.governance.notices import Delivery

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SqlDeliveries:
    """Deliveries: one row a channel; the lease is taken by one UPDATE."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, channel: str, start: int, now: datetime, until: datetime) -> Delivery | None:
        self._begin(Delivery(channel=channel, seq=start))
        mine = table.c.channel == channel
        with self._database.writing() as connection:
            free = mine & (table.c.leased_us <= _microseconds(now))
            if (
                connection.execute(table.update().where(free).values(leased_us=_microseconds(until))).rowcount
                != 1
            ):
                return None
            return Delivery.model_validate_json(
                connection.execute(select(table.c.body).where(mine)).scalar_one()
            )

    def put(self, delivery: Delivery, until: datetime) -> None:
        values = {"body": delivery.model_dump_json(), "leased_us": _microseconds(until)}
        with self._database.writing() as connection:
            connection.execute(table.update().where(table.c.channel == delivery.channel).values(**values))

    def give_back(self, channel: str) -> None:
        with self._database.writing() as connection:
            connection.execute(table.update().where(table.c.channel == channel).values(leased_us=0))

    def all(self) -> list[Delivery]:
        query = select(table.c.body).order_by(table.c.channel)
        with self._database.reading() as connection:
            return [Delivery.model_validate_json(body) for body in connection.execute(query).scalars()]

    def _begin(self, delivery: Delivery) -> None:
        """A row for a channel that has none."""
        if any(one.channel == delivery.channel for one in self.all()):
            return
        try:
            with self._database.writing() as connection:
                values = {"channel": delivery.channel, "body": delivery.model_dump_json(), "leased_us": 0}
                connection.execute(table.insert().values(**values))
        except IntegrityError:
            return  # somebody else was first


def _microseconds(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)
