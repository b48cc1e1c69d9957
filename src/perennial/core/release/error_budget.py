"""The error budget of a release: how many failed measurements in a row it survives."""

from __future__ import annotations

from datetime import timedelta

from perennial.core.release.abort import end_release
from perennial.core.release.phase import Phase
from perennial.core.release.transition import Transition

ERROR_SPACING = timedelta(seconds=10)
"""Errors closer together than this count once: the pace of the passes must not decide when a release ends, and
a killed model server needs half a minute on a busy machine until it answers again."""


def count_error(transition: Transition, why: str) -> None:
    """Count one measurement that failed; end the release when the budget is spent."""
    transition.erred = True
    last = transition.status.last_error_at
    if last is not None and transition.now - last < ERROR_SPACING:
        return
    count = transition.status.errors_in_a_row + 1
    transition.update(errors_in_a_row=count, last_error_at=transition.now, note=why)
    if count >= transition.status.policy.criteria.max_errors_in_a_row:
        end_release(transition, Phase.ROLLED_BACK, f"could not be measured {count} times in a row: {why}")


def close_error_row(transition: Transition) -> None:
    """Reset the count after a pass without an error."""
    if transition.status.errors_in_a_row and not transition.erred:
        transition.update(errors_in_a_row=0, last_error_at=None)
