"""GATED: the gate has reported on the candidate."""

from __future__ import annotations

from perennial.core.release import approval
from perennial.core.release.abort import end_release
from perennial.core.release.approving import approval_request, grant
from perennial.core.release.phase import Phase
from perennial.core.release.transition import Transition


def run(transition: Transition) -> None:
    """Reject a candidate that failed its gate; else let the policy approve it, or ask people."""
    status = transition.status
    if status.gate is None or not status.gate.passed:
        end_release(transition, Phase.REJECTED, "the gate has not passed")
        return
    automatic = approval.automatic(
        status.approval_policy, status.gate.risk, status.candidate.digest, transition.now
    )
    if automatic is not None:
        grant(transition, automatic)
        return
    transition.enter(Phase.AWAITING_APPROVAL, approval_request(status))
