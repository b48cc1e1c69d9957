"""The release machine: which status, actions and ledger entries follow from a status and an observation. Pure.

    PENDING -> GATED -> AWAITING_APPROVAL -> LOADING -> SHADOW -> CANARY[i] -> PROMOTING -> SUCCEEDED

The steps between LOADING and the end are the strategy's plan (`perennial.core.release.plan`); a `shadow_only`
release ends OBSERVED instead of being promoted. A failure before traffic ends in REJECTED, a later failure in
ABORTING -> ROLLED_BACK; a newer candidate that passed its gate makes the release SUPERSEDED. A first release
has no champion to share traffic with: LOADING -> PROMOTING. One transition a pass.

Verdicts combine by the worst, FAIL > ERROR > UNSURE > PASS. FAIL aborts, also while paused. ERROR is
tolerated `max_errors_in_a_row` times, then aborts. UNSURE waits until the step's time is over and
`unsure_after` more, then pauses for a person. PASS goes on when the step's time is over. All times are
absolute, so a restart resumes.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from perennial.core.events import Event
from perennial.core.release.abort import end_release
from perennial.core.release.approving import drop_withdrawn_approvals
from perennial.core.release.error_budget import close_error_row
from perennial.core.release.intents import apply_intents
from perennial.core.release.observation import Observation, TransitionResult
from perennial.core.release.phase import Phase
from perennial.core.release.phases import (
    aborting,
    awaiting_approval,
    gated,
    loading,
    pending,
    promoting,
    shadow_and_canary,
)
from perennial.core.release.status import ReleaseStatus
from perennial.core.release.transition import Transition

RULES: dict[Phase, Callable[[Transition], None]] = {
    Phase.PENDING: pending.run,
    Phase.GATED: gated.run,
    Phase.AWAITING_APPROVAL: awaiting_approval.run,
    Phase.LOADING: loading.run,
    Phase.SHADOW: shadow_and_canary.run,
    Phase.CANARY: shadow_and_canary.run,
    Phase.PROMOTING: promoting.run,
    Phase.ABORTING: aborting.run,
}


def decide(status: ReleaseStatus, seen: Observation, now: datetime) -> TransitionResult:
    """Return the next status, the actions that make the world fit it, and the entries for the ledger.

    The same call gives the same result again, so a pass that was killed before its status was saved is
    simply repeated.
    """
    transition = Transition(status, seen, now)
    if status.phase.is_final():
        return transition.result()
    _record_spec_change(transition)
    drop_withdrawn_approvals(transition)
    apply_intents(transition)
    if transition.status.phase is status.phase and transition.status.step == status.step:
        if seen.newer is not None and status.phase not in (Phase.PROMOTING, Phase.ABORTING):
            end_release(transition, Phase.SUPERSEDED, f"release {seen.newer} of a newer candidate took over")
        else:
            RULES[status.phase](transition)
            close_error_row(transition)
    return transition.result()


def _record_spec_change(transition: Transition) -> None:
    """Record that the spec was edited since the start; the release itself keeps its policy."""
    status, current = transition.status, transition.seen.spec_digest
    if current is None or current == status.spec_digest:
        return
    transition.update(spec_digest=current)
    transition.record(
        Event.RELEASE_SPEC_CHANGED,
        keeps=status.policy_digest,
        spec=current,
        why="the spec is again as it was at the start"
        if current == status.policy_digest
        else "the spec was edited: this release keeps the policy that it started with",
    )
