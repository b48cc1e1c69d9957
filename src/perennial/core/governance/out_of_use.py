"""Find versions that a person took out of use, by the ledger. An emergency rollback imports this: it stays light."""

from __future__ import annotations

from collections.abc import Iterable

from perennial.core.events import Event, LedgerRow

BY_PEOPLE = (Event.VERSION_RETIRED, Event.VERSION_ARCHIVED)
OUT_OF_USE = (*BY_PEOPLE, Event.VERSION_PURGED)
"""Events by which a person takes a version out of use. Versions that the release machine archives itself
(rejected, rolled back, replaced) have no such entry and may be released again."""


def out_of_use(rows: Iterable[LedgerRow], digest: str) -> str | None:
    """Return who took a version out of use, when and why, in words; None when nobody did.

    Args:
        rows: ledger rows of the kinds OUT_OF_USE.
    """
    for entry in (row.entry for row in rows):
        if entry.digest != digest or entry.kind not in OUT_OF_USE:
            continue
        from perennial.core.payloads import VersionFact  # a rollback that is allowed does without it

        fact = VersionFact.read(entry)
        why = f": {fact.why}" if fact.why else ""
        verb = entry.kind.removeprefix("lifecycle.")
        return f"{fact.version} was {verb} by {entry.actor} at {entry.at:%Y-%m-%d %H:%M} UTC{why}"
    return None
