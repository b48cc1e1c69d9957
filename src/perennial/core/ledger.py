"""The append-only record of who did what to which digest, as a hash chain.

Each row's hash covers its number, its entry and the hash before it: an edited, removed, inserted or moved
row breaks the chain from there on. Rows cut off at the end leave a valid chain: compare the newest hash
with one kept elsewhere (`perennial ledger verify --head`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from pydantic import AwareDatetime, Field

from perennial.core.spec import Frozen

GENESIS = "0" * 64
"""What the first row names as the hash before it."""


class Entry(Frozen):
    """One fact. `payload` holds plain JSON values only."""

    at: AwareDatetime
    actor: str = Field(description="a person, or the part of the system that acted: policy, machine, monitor")
    kind: str = Field(description="what happened, as area.fact: release.canary, retrain.requested")
    model: str
    release_id: str | None = None
    digest: str | None = Field(None, description="SHA-256 of the model file it is about")
    payload: dict[str, Any] = Field(default_factory=dict)


class LedgerRow(Frozen):
    """An entry in its place of the chain."""

    seq: int = Field(ge=1)
    entry: Entry
    previous: str
    hash: str


def canonical(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no blanks, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def chain(entry: Entry, seq: int, previous: str) -> LedgerRow:
    """The row that puts `entry` behind the row whose hash is `previous`."""
    return LedgerRow(seq=seq, entry=entry, previous=previous, hash=row_hash(entry, seq, previous))


def row_hash(entry: Entry, seq: int, previous: str) -> str:
    text = canonical({"entry": entry.model_dump(mode="json"), "previous": previous, "seq": seq})
    return hashlib.sha256(text.encode()).hexdigest()


def verify(rows: Iterable[LedgerRow]) -> int | None:
    """The sequence number at which the chain first breaks; None when it holds.

    Args:
        rows: all rows of the ledger in order of storage, from the first on.
    """
    previous = GENESIS
    for expected, row in enumerate(rows, start=1):
        sound = (
            row.seq == expected
            and row.previous == previous
            and row.hash == row_hash(row.entry, row.seq, row.previous)
        )
        if not sound:
            return expected
        previous = row.hash
    return None
