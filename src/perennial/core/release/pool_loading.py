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
    _wait(transition, f"the {pool} pool loads it")
    return False


def is_champion_loading(transition: Transition) -> bool:
    """Return whether a stable server is still loading the champion; its first answers would be no evidence.

    A server that cannot load it, or does not answer, is not waited for: others answer with it.
    """
    champion = transition.seen.champion
    if champion is None or champion.errors or champion.ready >= champion.reachable:
        return False
    _wait(transition, "the stable pool loads the champion")
    return True


def _wait(transition: Transition, note: str) -> None:
    status = transition.status
    transition.update(note=note)
    if transition.now >= status.entered_at + status.policy.unsure_after:
        transition.pause(Pause.NOT_LOADED)
