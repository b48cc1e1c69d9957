"""Ask the ledger why a version serves, and how each version fared. Needs the SQL store only."""

from __future__ import annotations

from datetime import datetime

from perennial.core.events import Event, LedgerRow
from perennial.core.governance import timeline as history
from perennial.core.governance.ledger import is_sound
from perennial.core.governance.why import REFUSED, SERVING, Why, explain
from perennial.errors import LedgerBroken
from perennial.ports import Ledger

NEIGHBOURS = 3
"""Releases of one model that may be on their way at once: one, its successor, and one more to be safe."""


def why(model: str, ledger: Ledger, at: datetime, refused: int) -> Why:
    """What served the model at a time, and on what grounds. Reads a few entries, however long the ledger is.

    Args:
        refused: how many refusals before `at` are told, the newest.

    Raises:
        LedgerBroken: an entry that the answer would rest on is not what its hash covers.
    """
    found = _sound(ledger.rows(model, kinds=SERVING, until=at, newest=1))
    served = found[0] if found else None
    story = _story(ledger, served.entry.release_id, at) if served is not None else []
    opened = _sound(ledger.rows(model, kinds=(Event.RELEASE_OPENED,), until=at, newest=NEIGHBOURS))
    return explain(
        model,
        at,
        served,
        story,
        _sound(ledger.rows(model, kinds=REFUSED, until=at, newest=refused)) if refused else [],
        [_story(ledger, row.entry.release_id, at) for row in opened],
    )


def ways(model: str, ledger: Ledger) -> list[history.Way]:
    """The way of every version of a model, oldest first.

    Raises:
        LedgerBroken: an entry is not what its hash covers.
    """
    return history.ways(_sound(ledger.rows(model)))


def _story(ledger: Ledger, release_id: str | None, at: datetime) -> list[LedgerRow]:
    return [] if release_id is None else _sound(ledger.rows(release_id=release_id, until=at))


def _sound(rows: list[LedgerRow]) -> list[LedgerRow]:
    """Not a verification of the chain, which reads everything: that nobody edited what is told here."""
    for row in rows:
        if not is_sound(row):
            raise LedgerBroken(
                f"entry {row.seq} of the ledger is not what its hash covers", hint="perennial ledger verify"
            )
    return rows
