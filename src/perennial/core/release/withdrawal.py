"""Withdraw releases after an emergency rollback: they get no traffic again. Pure.

Apart from `perennial.core.release.rollback`, which is imported before the traffic has moved and must be quick
to import.
"""

from __future__ import annotations

from perennial.core.release.rollback import Rollback
from perennial.core.release.status import Intent, IntentKind, ReleaseStatus


def is_withdrawn(rollback: Rollback, status: ReleaseStatus) -> bool:
    """Return whether the release was active when the person rolled back, to another version than its candidate."""
    ended_before = status.phase.is_final() and status.entered_at <= rollback.at
    started_before = status.model == rollback.model and status.started_at <= rollback.at
    return started_before and not ended_before and status.candidate.digest != rollback.to.digest


def withdrawal_intent(rollback: Rollback, status: ReleaseStatus) -> Intent:
    """Return the intent to abort the release; a pass and the writer of the record make the same intent."""
    return Intent(
        id=f"rollback-{rollback.id}-{status.release_id}",
        release_id=status.release_id,
        kind=IntentKind.ABORT,
        actor=rollback.actor,
        at=rollback.at,
        digest=status.candidate.digest,
        note="emergency rollback",
        channel="rollback",
    )
