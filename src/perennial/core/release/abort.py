"""How a release ends without promotion: traffic back first, places in the pools after."""

from __future__ import annotations

from perennial.core.events import Event, SystemActor
from perennial.core.release.status import Pause, Phase
from perennial.core.release.traffic import PoolName
from perennial.core.release.transition import Turn


def leave(turn: Turn, outcome: Phase, why: str, actor: str = SystemActor.MACHINE) -> None:
    """End it as `outcome`: at once before traffic, else through ABORTING.

    A pass that died after it moved traffic left a phase before traffic and a route with a share.
    """
    if turn.status.phase.is_before_traffic() and not turn.has_share:
        turn.leave_pools()
        turn.finish(outcome, why, actor)
        return
    turn.enter(Phase.ABORTING, why, actor, outcome=outcome.value)
    turn.update(outcome=outcome)
    aborting(turn)


def aborting(turn: Turn) -> None:
    """Give the candidate's share back to the champion, one pass later drop the candidate.

    While the champion is known to have no healthy server and the canary pool has one, the share stays
    where it is answered, and a person is asked.
    """
    status, live = turn.status, turn.seen.route
    if live is None or live.canary is None or live.canary.digest != status.candidate.digest:
        turn.leave_pools()
        turn.finish(status.outcome or Phase.ROLLED_BACK, status.note)
        return
    if live.canary_weight > 0 and _only_candidate_answers(turn):
        if Pause.CHAMPION_UNHEALTHY not in status.pauses:
            turn.update(pauses=status.pauses | {Pause.CHAMPION_UNHEALTHY})
            turn.record(Event.RELEASE_PAUSED, why=Pause.CHAMPION_UNHEALTHY.value)
        return
    turn.update(pauses=status.pauses - {Pause.CHAMPION_UNHEALTHY})
    turn.route(live.without_canary())


def _only_candidate_answers(turn: Turn) -> bool:
    healthy = turn.seen.healthy
    return healthy.get(PoolName.STABLE) == 0 and healthy.get(PoolName.CANARY, 0) > 0
