"""The append-only record of who did what to which digest, as a hash chain.

Each row's hash covers its number, its entry and the hash before it: an edited, removed, inserted or moved
row breaks the chain from there on. Rows cut off at the end leave a valid chain, and so does a chain written
anew from the start: both differ from a head that was kept elsewhere (`Head`, `perennial ledger head`).
Source of the construction: S. Haber, W. S. Stornetta, "How to time-stamp a digital document", Journal of
Cryptology 3 (1991).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pydantic import AwareDatetime, Field, ValidationError

from perennial.core.events import Entry, LedgerRow
from perennial.core.frozen import Frozen, canonical

GENESIS = "0" * 64
"""Previous hash of the first row."""
COMPARE = "somebody changed the table; compare with an export or a backup"
"""Hint of errors about a changed ledger."""


class StoredRow(NamedTuple):
    """A row as it lies in the store, before anybody has read meaning into its text.

    Bytes that are no UTF-8 stand as lone surrogates (`surrogateescape`): a damaged row is a row too.
    """

    seq: int
    model: str
    """The column by which rows are found; the hash covers the model inside the text."""
    text: str
    """Canonical JSON of the entry."""
    previous: str
    hash: str


class Head(Frozen):
    """The end of the chain at one time: the whole ledger up to there, in one hash."""

    seq: int = Field(ge=0, description="number of rows; 0 for an empty ledger")
    hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    at: AwareDatetime = Field(description="when it was read")

    @property
    def message(self) -> bytes:
        """What is signed. It names its own kind, so that no other signed text can pass for a head."""
        return canonical({"kind": "perennial.ledger.head.v1", **self.model_dump(mode="json")}).encode()


def chain(entry: Entry, seq: int, previous: str) -> LedgerRow:
    """The row that puts `entry` behind the row whose hash is `previous`."""
    return LedgerRow(seq=seq, entry=entry, previous=previous, hash=row_hash(entry, seq, previous))


def row_hash(entry: Entry, seq: int, previous: str) -> str:
    return text_hash(canonical(entry.model_dump(mode="json")), seq, previous)


def text_hash(text: str, seq: int, previous: str) -> str:
    """SHA-256 over canonical({"entry": ..., "previous": ..., "seq": ...}), from the entry's canonical text."""
    whole = f'{{"entry":{text},"previous":{canonical(previous)},"seq":{seq}}}'
    return hashlib.sha256(whole.encode()).hexdigest()


def stored(row: LedgerRow) -> StoredRow:
    """The row as a store keeps it."""
    text = canonical(row.entry.model_dump(mode="json"))
    return StoredRow(row.seq, row.entry.model, text, row.previous, row.hash)


def is_sound(row: LedgerRow) -> bool:
    """Whether the row's own hash covers it. Says nothing of its neighbours: `verify` does."""
    return row.hash == row_hash(row.entry, row.seq, row.previous)


def verify(rows: Iterable[LedgerRow]) -> int | None:
    """`verify_stored` of rows that were read already."""
    return verify_stored(stored(row) for row in rows)


def verify_stored(rows: Iterable[StoredRow]) -> int | None:
    """The sequence number at which the chain first breaks; None when it holds.

    The stored text itself is hashed, so that a change of a single byte is found, and the column by which
    rows are looked up is held against the text. A text that is no UTF-8 was never appended.

    Args:
        rows: all rows of the ledger in order of storage, from the first on.
    """
    previous = GENESIS
    for expected, row in enumerate(rows, start=1):
        sound = (
            row.seq == expected
            and row.previous == previous
            and _is_text(row.text)
            and row.hash == text_hash(row.text, row.seq, row.previous)
            and row.model == _model_of(row.text)
        )
        if not sound:
            return expected
        previous = row.hash
    return None


def _is_text(value: object) -> bool:
    """Bytes that are no UTF-8 come out of a store as lone surrogates; SQLite keeps other types in any column."""
    try:
        return isinstance(value, str) and bool(value.encode())
    except UnicodeEncodeError:
        return False


def _model_of(text: str) -> str | None:
    """None for a text that is no entry: somebody who can compute hashes may have chained nonsense."""
    try:
        return Entry.model_validate_json(text).model
    except ValidationError:
        return None


def compare(hashes: Sequence[str], head: Head) -> str | None:
    """What is wrong with a chain that holds, by a head that was kept elsewhere; None: nothing.

    Args:
        hashes: of all rows in order.
    """
    if len(hashes) < head.seq:
        return f"the last {head.seq - len(hashes)} of {head.seq} entries are cut off"
    found = hashes[head.seq - 1] if head.seq else GENESIS
    if found != head.hash:
        return f"the chain was written anew: entry {head.seq} is not the one that the head names"
    return None
