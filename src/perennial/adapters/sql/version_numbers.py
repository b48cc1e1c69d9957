"""Semantic versions, each taken once: by the database, since the registry has no such rule."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from perennial.adapters.sql.database import Database
from perennial.adapters.sql.schema import version_numbers as taken
from perennial.core.version import Change, next_version

TRIES = 50
"""How often a number may be lost to another process before that is an error."""


class SqlVersionNumbers:
    """The numbers of all models.

    Args:
        url: the SQLAlchemy address of the releases' database.
    """

    def __init__(self, url: str, tenant: str | None = None) -> None:
        self._database = Database(url, tenant)

    def take(
        self,
        model: str,
        run_id: str,
        change: Change,
        registered: Iterable[str],
        patch_of: str | None = None,
    ) -> str:
        """Return the number of a run; the same run always gets the same one.

        Args:
            registered: numbers that the registry knows, also those given before this table was there.
            patch_of: version that the run repackages.
        """
        known = set(registered)
        for _ in range(TRIES):
            try:
                with self._database.writing() as connection:
                    numbers = dict(
                        connection.execute(
                            select(taken.c.run_id, taken.c.number).where(taken.c.model == model)
                        ).all()
                    )
                    if run_id in numbers:
                        return numbers[run_id]
                    number = str(next_version(known | set(numbers.values()), change, patch_of))
                    connection.execute(taken.insert().values(model=model, number=number, run_id=run_id))
                return number
            except IntegrityError:  # somebody else took it between our look and our write
                continue
        raise RuntimeError(f"{model}: {TRIES} numbers in a row were taken by other processes")
