"""What stands in a release's way that is not the candidate's proven fault: gaps, delays, other hands. Pure."""

from __future__ import annotations

from datetime import timedelta

from perennial.core.events import Event
from perennial.core.release.abort import end_release
from perennial.core.release.phase import Phase
from perennial.core.release.status import Pause
from perennial.core.release.transition import Transition

ERROR_SPACING = timedelta(seconds=10)
"""Errors nearer than this count once: how often a release is looked at must not decide when it dies, and a
model server that was killed needs half a minute on a busy machine until it answers again."""


def count_error(transition: Transition, why: str) -> None:
    """Count one thing that could not be measured; too many in a row end the release."""
    transition.erred = True
    last = transition.status.last_error_at
    if last is not None and transition.now - last < ERROR_SPACING:
        return
    count = transition.status.errors_in_a_row + 1
    transition.update(errors_in_a_row=count, last_error_at=transition.now, note=why)
    if count >= transition.status.policy.criteria.max_errors_in_a_row:
        end_release(transition, Phase.ROLLED_BACK, f"could not be measured {count} times in a row: {why}")


def close_error_row(transition: Transition) -> None:
    """A look without an error ends the row of errors."""
    if transition.status.errors_in_a_row and not transition.erred:
        transition.update(errors_in_a_row=0, last_error_at=None)


def pause(transition: Transition, reason: Pause) -> None:
    if reason not in transition.status.pauses:
        transition.update(pauses=transition.status.pauses | {reason}, note=f"paused: {reason.value}")
        transition.record(Event.RELEASE_PAUSED, why=reason.value)


def champion_moved(transition: Transition) -> bool:
    """Whether somebody else changed who the champion is: this release must not undo that."""
    live, known = transition.seen.route, transition.status.champion
    return (live.stable.digest if live else None) != (known.digest if known else None)
