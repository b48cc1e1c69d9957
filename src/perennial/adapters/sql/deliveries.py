"""The Deliveries port over the SQL database: delivery state and lease of each notification channel."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from perennial.adapters.sql.database import Database
from perennial.adapters.sql.schema import deliveries as table
from perennial.adapters.sql.schema import microseconds
from perennial.core.governance.notices import Delivery


class SqlDeliveries:
    """Deliveries with a row per channel; an UPDATE takes the lease."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, channel: str, start: int, now: datetime, until: datetime) -> Delivery | None:
        self._begin(Delivery(channel=channel, seq=start))
        mine = table.c.channel == channel
        lease = table.update().where(mine & (table.c.leased_us <= microseconds(now)))
        with self._database.writing() as connection:
            if connection.execute(lease.values(leased_us=microseconds(until))).rowcount != 1:
                return None
            body = connection.execute(select(table.c.body).where(mine)).scalar_one()
        return Delivery.model_validate_json(body)

    def put(self, delivery: Delivery, until: datetime) -> None:
        self._update(delivery.channel, body=delivery.model_dump_json(), leased_us=microseconds(until))

    def give_back(self, channel: str) -> None:
        self._update(channel, leased_us=0)

    def all(self) -> list[Delivery]:
        return self._database.values(select(table.c.body).order_by(table.c.channel), Delivery)

    def _update(self, channel: str, **values: str | int) -> None:
        with self._database.writing() as connection:
            connection.execute(table.update().where(table.c.channel == channel).values(**values))

    def _begin(self, delivery: Delivery) -> None:
        """Insert the first row of a channel."""
        if any(known.channel == delivery.channel for known in self.all()):
            return
        try:
            with self._database.writing() as connection:
                values = {"channel": delivery.channel, "body": delivery.model_dump_json(), "leased_us": 0}
                connection.execute(table.insert().values(**values))
        except IntegrityError:
            return  # another process was first
