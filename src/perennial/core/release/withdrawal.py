"""What an emergency rollback means for releases on their way: they get no traffic again. Pure.

Apart from `perennial.core.release.rollback`, which a rollback imports before the traffic has moved.
"""

from __future__ import annotations

from perennial.core.release.rollback import Rollback
from perennial.core.release.status import Intent, IntentKind, ReleaseStatus


def is_withdrawn(one: Rollback, status: ReleaseStatus) -> bool:
    """Whether the release was on its way when the person rolled back, to something else than its candidate."""
    ended_before = status.phase.is_final() and status.entered_at <= one.at
    elsewhere = status.candidate.digest != one.to.digest
    return status.model == one.model and status.started_at <= one.at and not ended_before and elsewhere


def withdrawal_intent(one: Rollback, status: ReleaseStatus) -> Intent:
    """The same intent whoever makes it: who writes the rollback down, or a pass that comes before."""
    return Intent(
        id=f"rollback-{one.id}-{status.release_id}",
        release_id=status.release_id,
        kind=IntentKind.ABORT,
        actor=one.actor,
        at=one.at,
        digest=status.candidate.digest,
        note="emergency rollback",
        channel="rollback",
    )
