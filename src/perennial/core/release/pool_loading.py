"""Wait until a pool holds the candidate (LOADING and PROMOTING)."""

from __future__ import annotations

from perennial.core.release.error_budget import count_error
from perennial.core.release.status import Pause
from perennial.core.release.traffic import PoolName, Readiness
from perennial.core.release.transition import Transition


def is_loaded(transition: Transition, readiness: Readiness | None, pool: PoolName) -> bool:
    """Return whether every server of the pool holds the candidate; count errors, pause when it takes too long."""
    status = transition.status
    if readiness is not None and readiness.complete:
        if status.errors_in_a_row:
            transition.update(note=f"the {pool} pool holds it")
        return True
    errors = (*transition.seen.errors, *(readiness.errors if readiness is not None else ()))
    if errors:
        count_error(transition, "; ".join(errors))
        return False
    transition.update(note=f"the {pool} pool loads it")
    if transition.now >= status.entered_at + status.policy.unsure_after:
        transition.pause(Pause.NOT_LOADED)
    return False
