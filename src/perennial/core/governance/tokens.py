"""Tokens that sign a person in on the command line. Only a hash is stored: a stolen database signs nobody in."""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import AwareDatetime, Field

from perennial.core.frozen import Frozen
from perennial.core.governance.identity import Account, IssuerAccount, Role, SignedIn

MAX_AGE = timedelta(days=90)
"""Longest life of a token, whatever its stored end says."""
MARK = "pn"
"""First part of every token, so that secret scanners recognise it."""


class Token(Frozen):
    """A token as it is stored."""

    id: str
    account: str
    role: Role
    sha256: str = Field(min_length=64, max_length=64, repr=False)
    issued_at: AwareDatetime
    issued_by: str
    expires_at: AwareDatetime
    revoked_at: AwareDatetime | None = None

    def state(self, now: datetime) -> str:
        """Return active, expired or revoked."""
        if self.revoked_at is not None and self.revoked_at <= now:
            return "revoked"
        return "active" if now < min(self.expires_at, self.issued_at + MAX_AGE) else "expired"

    def is_of(self, account: Account) -> bool:
        """Return whether the account holds the token now.

        A person at an issuer holds none of whoever had the name before, and none that was made on the page of tokens
        in a session that has ended.
        """
        if (account.name, account.role) != (self.account, self.role):
            return False
        if not isinstance(account, IssuerAccount):
            return True
        return self.issued_at >= (account.since if self.issued_by == self.account else account.named)

    @property
    def holder(self) -> SignedIn:
        """The account that the token signs in."""
        return SignedIn(name=self.account, role=self.role, issued_by=self.issued_by)
