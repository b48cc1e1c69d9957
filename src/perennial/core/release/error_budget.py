"""What stands in a release's way that is not the candidate's proven fault: gaps, delays, other hands. Pure."""

from __future__ import annotations

from datetime import timedelta

from perennial.core.events import Event
from perennial.core.release.abort import leave
from perennial.core.release.status import Pause, Phase
from perennial.core.release.transition import Turn

ERROR_SPACING = timedelta(seconds=10)
"""Errors nearer than this count once: how often a release is looked at must not decide when it dies, and a
model server that was killed needs half a minute on a busy machine until it answers again."""


def count_error(turn: Turn, why: str) -> None:
    """Count one thing that could not be measured; too many in a row end the release."""
    turn.erred = True
    last = turn.status.last_error_at
    if last is not None and turn.now - last < ERROR_SPACING:
        return
    count = turn.status.errors_in_a_row + 1
    turn.update(errors_in_a_row=count, last_error_at=turn.now, note=why)
    if count >= turn.status.policy.criteria.max_errors_in_a_row:
        leave(turn, Phase.ROLLED_BACK, f"could not be measured {count} times in a row: {why}")


def end_row(turn: Turn) -> None:
    """A look without an error ends the row of errors."""
    if turn.status.errors_in_a_row and not turn.erred:
        turn.update(errors_in_a_row=0, last_error_at=None)


def pause(turn: Turn, reason: Pause) -> None:
    if reason not in turn.status.pauses:
        turn.update(pauses=turn.status.pauses | {reason}, note=f"paused: {reason.value}")
        turn.record(Event.RELEASE_PAUSED, why=reason.value)


def champion_moved(turn: Turn) -> bool:
    """Whether somebody else changed who the champion is: this release must not undo that."""
    live, known = turn.seen.route, turn.status.champion
    return (live.stable.digest if live else None) != (known.digest if known else None)
