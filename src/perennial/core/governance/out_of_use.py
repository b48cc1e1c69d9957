"""Versions that a person took out of use, by the ledger. Apart, because an emergency rollback asks too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perennial.core.events import LedgerRow

BY_PEOPLE = ("lifecycle.retired", "lifecycle.archived")
OUT_OF_USE = (*BY_PEOPLE, "lifecycle.purged")
"""What the ledger calls it when a person takes a version out of use. What the release machine archives by
itself (rejected, rolled back, replaced) may come back, and has no such entry."""


def out_of_use(rows: Iterable[LedgerRow], digest: str) -> str | None:
    """By whom, when and why a version was taken out of use; None when it was not.

    Args:
        rows: of the ledger, of the kinds OUT_OF_USE.
    """
    for row in rows:
        one = row.entry
        if one.digest == digest and one.kind in OUT_OF_USE:
            why = f": {one.payload['why']}" if one.payload.get("why") else ""
            how = one.kind.removeprefix("lifecycle.")
            return (
                f"{one.payload.get('version')} was {how} by {one.actor} at {one.at:%Y-%m-%d %H:%M} UTC{why}"
            )
    return None
