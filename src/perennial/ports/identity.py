"""Port of the stored tokens."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from perennial.core.governance.tokens import Token


class TokenStore(Protocol):
    """Issued tokens, stored by hash."""

    def put(self, token: Token) -> None: ...

    def find(self, token_id: str) -> Token | None: ...

    def all(self) -> Sequence[Token]:
        """Return all tokens, oldest first, including expired and revoked tokens."""

    def revoke(self, token_id: str, at: datetime) -> Token | None:
        """Revoke a token and return it; None if it does not exist. Repeating changes nothing."""
