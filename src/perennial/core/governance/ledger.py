"""Hash chain of the append-only ledger: who did what to which digest.

The hash of a row covers its number, its entry and the previous hash, so an edited, removed, inserted or moved row
breaks the chain. Truncating the end, or rewriting everything, leaves a valid chain: both are detected by a head that
is kept elsewhere (`Head`, `perennial ledger head`).
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
    """A row as it is stored, not parsed. Bytes that are not UTF-8 are lone surrogates (`surrogateescape`)."""

    seq: int
    model: str
    """Indexed column; the hash covers the model inside the text."""
    text: str
    """Canonical JSON of the entry."""
    previous: str
    hash: str


class Head(Frozen):
    """End of the chain at a time: its hash covers the whole ledger up to there."""

    seq: int = Field(ge=0, description="number of rows; 0 for an empty ledger")
    hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    at: AwareDatetime = Field(description="time of reading")

    @property
    def message(self) -> bytes:
        """The signed bytes. They name their kind, so that no other signed text can pass for a head."""
        return canonical({"kind": "perennial.ledger.head.v1", **self.model_dump(mode="json")}).encode()


def chain(entry: Entry, seq: int, previous: str) -> LedgerRow:
    """Return the row of `entry` after the row with the hash `previous`."""
    return LedgerRow(seq=seq, entry=entry, previous=previous, hash=row_hash(entry, seq, previous))


def row_hash(entry: Entry, seq: int, previous: str) -> str:
    """Return the hash of a row."""
    return text_hash(canonical(entry.model_dump(mode="json")), seq, previous)


def text_hash(text: str, seq: int, previous: str) -> str:
    """Return the SHA-256 of canonical({"entry": ..., "previous": ..., "seq": ...}), given the entry's text."""
    whole = f'{{"entry":{text},"previous":{canonical(previous)},"seq":{seq}}}'
    return hashlib.sha256(whole.encode()).hexdigest()


def stored(row: LedgerRow) -> StoredRow:
    """Return the row in its stored form."""
    text = canonical(row.entry.model_dump(mode="json"))
    return StoredRow(row.seq, row.entry.model, text, row.previous, row.hash)


def is_sound(row: LedgerRow) -> bool:
    """Return whether the row matches its own hash. `verify` also checks the chain."""
    return row.hash == row_hash(row.entry, row.seq, row.previous)


def verify(rows: Iterable[LedgerRow]) -> int | None:
    """Return the result of `verify_stored` for parsed rows."""
    return verify_stored(stored(row) for row in rows)


def verify_stored(rows: Iterable[StoredRow]) -> int | None:
    """Return the sequence number at which the chain first breaks; None when it holds.

    The stored text itself is hashed, so a change of a single byte is detected. The model column is compared with the
    text. Text that is not UTF-8 was never appended.

    Args:
        rows: all rows of the ledger in order, from the first on.
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
    """Return whether a stored value is valid text; SQLite keeps any type in any column."""
    try:
        return isinstance(value, str) and bool(value.encode())
    except UnicodeEncodeError:
        return False


def _model_of(text: str) -> str | None:
    """Return the model of an entry's text; None if it is no entry, which a forger may have chained."""
    try:
        return Entry.model_validate_json(text).model
    except ValidationError:
        return None


def compare_end(entries: int, newest: str, end: tuple[int, str]) -> str | None:
    """Compare a valid chain with the stored head; return the difference in words, or None.

    Args:
        entries: number of rows.
        newest: hash of the last row.
        end: sequence number and hash of the stored head, read together with the rows.
    """
    noted, last = end
    if entries < noted:
        return f"the last {noted - entries} of {noted} entries are cut off"
    if entries > noted:
        return f"the note of the end was set back to entry {noted} of {entries}"
    if newest != last:
        return f"entry {noted} is not the one that was appended last"
    return None


def compare(hashes: Sequence[str], head: Head) -> str | None:
    """Compare a valid chain with a head that was kept elsewhere; return the difference in words, or None.

    Args:
        hashes: the hashes of all rows in order.
    """
    if len(hashes) < head.seq:
        return f"the last {head.seq - len(hashes)} of {head.seq} entries are cut off"
    actual = hashes[head.seq - 1] if head.seq else GENESIS
    if actual != head.hash:
        return f"the chain was written anew: entry {head.seq} differs from the head"
    return None
