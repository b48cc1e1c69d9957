"""Tokens that sign a person in on the command line. Kept as a hash: a stolen database signs nobody in.

A token has 256 random bits, so a plain SHA-256 of it cannot be guessed back; slow hashes are for passwords,
which people choose (OWASP Password Storage Cheat Sheet).
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime

from pydantic import AwareDatetime, Field

from perennial.core.frozen import Frozen
from perennial.core.governance.identity import Account, Role

MARK = "pn"
"""First part of every token, so that scanners for secrets know one."""


class Token(Frozen):
    """What is stored of a token."""

    id: str
    account: str
    role: Role
    sha256: str = Field(min_length=64, max_length=64, repr=False)
    issued_at: AwareDatetime
    issued_by: str
    expires_at: AwareDatetime
    revoked_at: AwareDatetime | None = None

    def state(self, now: datetime) -> str:
        """active, expired or revoked."""
        if self.revoked_at is not None and self.revoked_at <= now:
            return "revoked"
        return "active" if now < self.expires_at else "expired"

    @property
    def holder(self) -> Account:
        return Account(name=self.account, role=self.role)


def written(token_id: str, secret: str) -> str:
    """The text that a person is given."""
    return f"{MARK}_{token_id}_{secret}"


def id_of(text: str) -> str | None:
    """Which stored token a text claims to be; None when it is no token."""
    parts = text.strip().split("_", 2)
    return parts[1] if len(parts) == 3 and parts[0] == MARK and all(parts) else None


def hashed(text: str) -> str:
    return hashlib.sha256(text.strip().encode()).hexdigest()


def opens(text: str, stored: Token) -> bool:
    """Whether the text is the stored token; takes the same time for every wrong one."""
    return hmac.compare_digest(hashed(text), stored.sha256)
