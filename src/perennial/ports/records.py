"""Ports of what is stored: releases, intents, ledger entries, tokens and deliveries of notices."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from perennial.core.events import Entry, LedgerRow
    from perennial.core.governance.ledger import StoredRow
    from perennial.core.governance.notices import Delivery
    from perennial.core.governance.tokens import Token
    from perennial.core.release.status import Intent, ReleaseStatus


class ReleaseStore(Protocol):
    """Stored releases, with compare-and-set on their revision (SQL)."""

    def load(self, release_id: str) -> ReleaseStatus | None: ...

    def latest(self, model: str) -> list[ReleaseStatus]:
        """Return all releases of a model, newest first."""

    def active(self, model: str | None = None) -> list[ReleaseStatus]:
        """Return the releases that have not ended, of a model or of all, newest first.

        The cost depends on their number, not on that of the ended ones.
        """

    def save(self, status: ReleaseStatus, expected: int | None, entries: Sequence[Entry]) -> ReleaseStatus:
        """Store with revision expected + 1 (0 for a new release, `expected` None) and append the ledger
        entries in the same transaction.

        Raises:
            ReleaseConflict: the stored revision is not `expected`.
        """

    def note_pass(self, release_id: str, at: datetime) -> None:
        """Store when a process made a pass over a release; its revision stays."""

    def last_pass(self, release_id: str) -> datetime | None:
        """Return the newest time that `note_pass` stored; None where there is none."""


class Intents(Protocol):
    """Requests of people about a release (SQL)."""

    def put(self, intent: Intent) -> None: ...

    def pending(self, release_id: str) -> list[Intent]:
        """Return all intents of the release in order of arrival; the status names the consumed ids."""


class Ledger(Protocol):
    """The append-only, hash-chained ledger (SQL)."""

    def append(self, entry: Entry) -> LedgerRow:
        """Append an entry.

        Raises:
            LedgerBroken: the stored end is lost or behind the rows, so the row would replace another.
        """

    def rows(
        self,
        model: str | None = None,
        *,
        kinds: Collection[str] = (),
        release_id: str | None = None,
        until: datetime | None = None,
        after: int | None = None,
        newest: int | None = None,
    ) -> list[LedgerRow]:
        """Return the rows that meet every condition, in order of sequence.

        The cost depends on the result, not on the size of the ledger; `until` searches from the end.

        Args:
            after: sequence number, exclusive.
            newest: return at most so many rows, the newest.
        """

    def stored(self) -> Iterator[StoredRow]:
        """Yield every row as stored, in order of sequence, for the verification of the chain."""

    def end(self) -> tuple[int, str]:
        """Return the separately stored sequence number and hash of the last row; (0, GENESIS) at first.

        Raises:
            LedgerBroken: the stored end is lost.
        """

    def snapshot(self) -> tuple[tuple[int, str], list[StoredRow]]:
        """Return `end` and `stored` of the same moment, also during appends."""


class Signer(Protocol):
    """Signatures with a private key (Ed25519)."""

    public: str
    """The public key in base64."""

    def sign(self, message: bytes) -> bytes: ...


class TokenStore(Protocol):
    """Issued tokens, stored by hash."""

    def put(self, token: Token) -> None: ...

    def find(self, token_id: str) -> Token | None: ...

    def all(self) -> Sequence[Token]:
        """Return all tokens, oldest first, including expired and revoked tokens."""

    def revoke(self, token_id: str, at: datetime) -> Token | None:
        """Revoke a token and return it; None if it does not exist. Repeating changes nothing."""


class Deliveries(Protocol):
    """Delivery state and lease of each channel (the SQL database)."""

    def take(self, channel: str, start: int, now: datetime, until: datetime) -> Delivery | None:
        """Lease the channel; None while another process has it. A new channel begins after entry `start`."""

    def put(self, delivery: Delivery, until: datetime) -> None:
        """Store the state and extend the lease."""

    def give_back(self, channel: str) -> None: ...

    def all(self) -> list[Delivery]: ...
