"""LOADING: the candidate is approved and the canary pool loads it."""

from __future__ import annotations

from perennial.core.release.abort import end_release
from perennial.core.release.approving import is_still_allowed
from perennial.core.release.error_budget import count_error
from perennial.core.release.phase import Phase
from perennial.core.release.plan import by_server, promotes
from perennial.core.release.pool_loading import is_champion_loading, is_loaded
from perennial.core.release.steps import begin_next
from perennial.core.release.traffic import PoolName
from perennial.core.release.transition import Transition


def run(transition: Transition) -> None:
    """Begin the first step of the plan once the canary pool holds the candidate.

    A first release has no champion to share traffic with: it goes straight to PROMOTING.
    """
    status, seen = transition.status, transition.seen
    if transition.champion_moved:
        end_release(transition, Phase.REJECTED, "the champion is another than at the gate: start it again")
        return
    if not is_still_allowed(transition):
        return
    if seen.older_active:
        transition.update(note="waits until the release before it has let go of the traffic")
        return
    if status.champion is None:
        _without_champion(transition)
        return
    transition.ensure(PoolName.CANARY)
    if not is_loaded(transition, seen.in_canary, PoolName.CANARY) or transition.status.pauses:
        return
    if is_champion_loading(transition):
        return
    if by_server(status.policy):
        if seen.in_stable is None or seen.in_stable.total == 0:
            count_error(transition, "; ".join(seen.errors) or "the stable pool has no servers to count")
            return
        transition.update(servers=seen.in_stable.total)
    if transition.status.plan and not seen.counters:
        count_error(transition, "; ".join(seen.errors) or "nothing is counted")
        return
    begin_next(transition)


def _without_champion(transition: Transition) -> None:
    if not promotes(transition.status.policy):
        end_release(
            transition, Phase.REJECTED, "there is no champion yet whose requests it could get copies of"
        )
        return
    transition.enter(Phase.PROMOTING, "the first release: nobody to share traffic with")
    transition.ensure(PoolName.STABLE)
