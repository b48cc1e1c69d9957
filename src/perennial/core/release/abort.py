"""End a release without a promotion: the candidate loses its traffic, then its place in the pools."""

from __future__ import annotations

from perennial.core.events import Event, SystemActor
from perennial.core.release.phase import Phase
from perennial.core.release.status import Pause
from perennial.core.release.traffic import PoolName
from perennial.core.release.transition import Transition


def end_release(transition: Transition, outcome: Phase, why: str, actor: str = SystemActor.MACHINE) -> None:
    """End the release as `outcome`: at once before traffic, else through ABORTING.

    A pass that was killed after it had moved traffic left a phase before traffic and a route with a share:
    that release goes through ABORTING, too.
    """
    if transition.status.phase.is_before_traffic() and not transition.has_share:
        transition.leave_pools()
        transition.finish(outcome, why, actor)
        return
    transition.enter(Phase.ABORTING, why, actor, outcome=outcome.value)
    transition.update(outcome=outcome)
    withdraw_candidate(transition)


def withdraw_candidate(transition: Transition) -> None:
    """Give the candidate's share back to the champion; drop the candidate in the pass after that.

    While the champion is known to have no healthy server and the canary pool has one, the share stays
    with the candidate, and a person is asked.
    """
    status, live = transition.status, transition.seen.route
    if live is None or live.canary is None or live.canary.digest != status.candidate.digest:
        transition.leave_pools()
        transition.finish(status.outcome or Phase.ROLLED_BACK, status.note)
        return
    if live.canary_weight > 0 and _only_candidate_answers(transition):
        if Pause.CHAMPION_UNHEALTHY not in status.pauses:
            transition.update(pauses=status.pauses | {Pause.CHAMPION_UNHEALTHY})
            transition.record(Event.RELEASE_PAUSED, why=Pause.CHAMPION_UNHEALTHY.value)
        return
    transition.update(pauses=status.pauses - {Pause.CHAMPION_UNHEALTHY})
    transition.route(live.without_canary())


def _only_candidate_answers(transition: Transition) -> bool:
    healthy = transition.seen.healthy
    return healthy.get(PoolName.STABLE) == 0 and healthy.get(PoolName.CANARY, 0) > 0
