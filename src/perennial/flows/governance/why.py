"""Answer `why` and `timeline` from the ledger. Needs only the SQL store."""

from __future__ import annotations

from datetime import datetime

from perennial.core.events import Event, LedgerRow
from perennial.core.governance import timeline
from perennial.core.governance.ledger import is_sound
from perennial.core.governance.why import REFUSED, SERVING, ServingExplanation, explain
from perennial.errors import LedgerBroken
from perennial.ports import Ledger

NEIGHBOURS = 3
"""Newest releases of a model that are read: at most two can be open at once, and one more to be safe."""


def why(model: str, ledger: Ledger, at: datetime, refused: int) -> ServingExplanation:
    """Explain what served the model at a time. Reads few entries, however long the ledger is.

    Args:
        refused: how many of the newest refusals before `at` are included.

    Raises:
        LedgerBroken: an entry that the answer needs does not match its hash.
    """
    rows = _sound(ledger.rows(model, kinds=SERVING, until=at, newest=1))
    served = rows[0] if rows else None
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


def version_timelines(model: str, ledger: Ledger) -> list[timeline.VersionTimeline]:
    """Return the timelines of all versions of a model, oldest first.

    Raises:
        LedgerBroken: an entry does not match its hash.
    """
    return timeline.version_timelines(_sound(ledger.rows(model)))


def _story(ledger: Ledger, release_id: str | None, at: datetime) -> list[LedgerRow]:
    return [] if release_id is None else _sound(ledger.rows(release_id=release_id, until=at))


def _sound(rows: list[LedgerRow]) -> list[LedgerRow]:
    """Return the rows if each matches its own hash. Does not verify the chain, which reads everything."""
    for row in rows:
        if not is_sound(row):
            raise LedgerBroken(
                f"entry {row.seq} of the ledger does not match its hash", hint="perennial ledger verify"
            )
    return rows
