"""The TokenStore port over the SQL database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select

from perennial.adapters.sql.database import Database
from perennial.adapters.sql.schema import tokens
from perennial.core.governance.tokens import Token


class SqlTokens:
    """Tokens with a row each; no row holds a secret.

    Args:
        url: the SQLAlchemy address of the releases' database.
    """

    def __init__(self, url: str, tenant: str | None = None) -> None:
        self._database = Database(url, tenant)

    def put(self, token: Token) -> None:
        with self._database.writing() as connection:
            connection.execute(tokens.insert().values(id=token.id, body=token.model_dump_json()))

    def find(self, token_id: str) -> Token | None:
        matches = self._database.values(select(tokens.c.body).where(tokens.c.id == token_id), Token)
        return matches[0] if matches else None

    def all(self) -> Sequence[Token]:
        issued = self._database.values(select(tokens.c.body), Token)
        return sorted(issued, key=lambda token: (token.issued_at, token.id))

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
