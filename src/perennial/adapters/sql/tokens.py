"""The TokenStore port over our SQL database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select

from perennial.adapters.sql.schema import Database, tokens
from perennial.core.governance.tokens import Token


class SqlTokens:
    """One row a token; the row holds no secret.

    Args:
        url: an SQLAlchemy address, the one of the releases.
    """

    def __init__(self, url: str) -> None:
        self._database = Database(url)

    def put(self, token: Token) -> None:
        with self._database.writing() as connection:
            connection.execute(tokens.insert().values(id=token.id, body=token.model_dump_json()))

    def find(self, token_id: str) -> Token | None:
        with self._database.reading() as connection:
            body = connection.execute(select(tokens.c.body).where(tokens.c.id == token_id)).scalar()
        return None if body is None else Token.model_validate_json(body)

    def all(self) -> Sequence[Token]:
        with self._database.reading() as connection:
            bodies = connection.execute(select(tokens.c.body)).scalars().all()
        found = [Token.model_validate_json(body) for body in bodies]
        return sorted(found, key=lambda one: (one.issued_at, one.id))

    def revoke(self, token_id: str, at: datetime) -> Token | None:
        mine = tokens.c.id == token_id
        with self._database.writing() as connection:
            body = connection.execute(select(tokens.c.body).where(mine).with_for_update()).scalar()
            if body is None:
                return None
            token = Token.model_validate_json(body)
            if token.revoked_at is None:
                token = token.model_copy(update={"revoked_at": at})
                connection.execute(tokens.update().where(mine).values(body=token.model_dump_json()))
        return token
