"""What is kept of releases, in transactions."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from perennial.core.events import Entry, LedgerRow
    from perennial.core.governance.ledger import StoredRow
    from perennial.core.release.status import Intent, ReleaseStatus


class ReleaseStore(Protocol):
    """Releases, with compare-and-set on their revision (our SQL database)."""

    def load(self, release_id: str) -> ReleaseStatus | None: ...

    def latest(self, model: str) -> list[ReleaseStatus]:
        """All releases of a model, newest first."""

    def save(self, status: ReleaseStatus, expected: int | None, entries: Sequence[Entry]) -> ReleaseStatus:
        """Store with revision expected + 1 (0 when None: new) and append the ledger entries, both or
        neither. Raises ReleaseConflict when the stored revision is not `expected`."""


class Intents(Protocol):
    """What people asked of a release (our SQL database)."""

    def put(self, intent: Intent) -> None: ...

    def pending(self, release_id: str) -> list[Intent]:
        """Intents of the release in the order they came; consumed ones are those whose id the status names."""


class Ledger(Protocol):
    """The append-only, hash-chained record (our SQL database)."""

    def append(self, entry: Entry) -> LedgerRow:
        """Raises LedgerBroken where the note of the end is lost or behind the rows: a row put there would
        stand in the place of another."""

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
        """In order of sequence: those that meet every condition given, at most the `newest` so many.

        Args:
            after: a sequence number, itself left out.

        Costs what it returns, not what the ledger holds, but for `until`, which looks back from the end.
        """

    def stored(self) -> Iterator[StoredRow]:
        """Every row as it lies there, in order of sequence, for the verification of the chain."""

    def end(self) -> tuple[int, str]:
        """Sequence number and hash of the last row as the store notes them apart; (0, GENESIS) at first.
        Raises LedgerBroken where the note is lost."""

    def snapshot(self) -> tuple[tuple[int, str], list[StoredRow]]:
        """`end` and `stored` at one moment, however many append meanwhile."""


class Signer(Protocol):
    """Signatures by one private key (Ed25519)."""

    public: str
    """The public key in base64."""

    def sign(self, message: bytes) -> bytes: ...
