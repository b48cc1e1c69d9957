"""Walk the steps of a release's plan: enter the next step, set its share of the traffic, tell when it is over."""

from __future__ import annotations

from perennial.core.release.abort import end_release
from perennial.core.release.phase import Phase
from perennial.core.release.plan import Step, promotes
from perennial.core.release.status import Pause
from perennial.core.release.step_analysis import step_counters
from perennial.core.release.traffic import PoolName
from perennial.core.release.transition import Transition
from perennial.core.verdict import Verdict


def begin_next(transition: Transition) -> None:
    """Enter the next step, or the first; after the last step promote, or end a `shadow_only` release."""
    step = transition.status.following
    if step is None:
        _end_of_plan(transition)
        return
    before = step_counters(transition)[1] if step.takes_all else None
    slices_before = transition.status.slices if step.takes_all else ()
    mirrored = step.phase is Phase.SHADOW
    why = "gets copies of the requests" if mirrored else f"answers {step.weight:g} % of the requests"
    transition.enter(step.phase, why, step=step.number)
    transition.update(before=before, slices_before=slices_before)
    share_traffic(transition, step)


def is_over(transition: Transition, verdict: Verdict) -> bool:
    """Return whether the step's time is over, or its sample complete, and the verdict is PASS.

    A step that is still not decided `unsure_after` its end pauses the release.
    """
    status, step = transition.status, current_step(transition)
    end = status.entered_at + step.duration
    answers = min(counters.requests for counters in step_counters(transition))
    sampled = step.sample is not None and answers >= step.sample
    if status.pauses or (transition.now < end and not sampled):
        return False
    if verdict is Verdict.PASS:
        return True
    if transition.now >= end + status.policy.unsure_after:
        transition.pause(Pause.UNSURE)
    return False


def current_step(transition: Transition) -> Step:
    """Return the step of the plan that the release is in."""
    status = transition.status
    if status.current is None:
        raise AssertionError(f"release {status.release_id}: {status.phase} {status.step} is not in its plan")
    return status.current


def share_traffic(transition: Transition, step: Step) -> None:
    """Set the route of a step; only an approved candidate gets a share."""
    status, live = transition.status, transition.seen.route
    if live is None or not status.approved:
        raise AssertionError(f"release {status.release_id}: a share without champion or approval")
    transition.route(status.shared(live, step))


def _end_of_plan(transition: Transition) -> None:
    if promotes(transition.status.policy):
        transition.enter(Phase.PROMOTING, "passed every step")
        transition.ensure(PoolName.STABLE)
    else:
        end_release(
            transition,
            Phase.OBSERVED,
            "got copies of the requests for its time; nothing is proven against it",
        )
