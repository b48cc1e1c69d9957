"""Who may act, as it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from perennial.core.governance.tokens import Token


class TokenStore(Protocol):
    """Tokens that were issued, by hash."""

    def put(self, token: Token) -> None: ...

    def find(self, token_id: str) -> Token | None: ...

    def all(self) -> Sequence[Token]:
        """Oldest first, also those that no longer count."""

    def revoke(self, token_id: str, at: datetime) -> Token | None:
        """The token as it is then; None when there is none. Repeating changes nothing."""
