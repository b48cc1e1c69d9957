"""End a release without a promotion."""

from __future__ import annotations

from perennial.core.events import SystemActor
from perennial.core.release.phase import Phase
from perennial.core.release.phases import aborting
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
    aborting.run(transition)
