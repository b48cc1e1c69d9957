"""Count approvals of a release, and drop those that no longer hold. Used by several phases."""

from __future__ import annotations

from perennial.core.events import Event
from perennial.core.release import approval
from perennial.core.release.abort import end_release
from perennial.core.release.approval import Approval
from perennial.core.release.error_budget import count_error
from perennial.core.release.phase import Phase
from perennial.core.release.status import ReleaseStatus
from perennial.core.release.transition import Transition


def approval_request(status: ReleaseStatus) -> str:
    """Return who is still asked to approve, and why, in words."""
    if status.gate is None:
        raise AssertionError(f"release {status.release_id} asks for approval without a gate report")
    reasons = "; ".join(status.gate.risk_reasons) or "the spec wants a person"
    return f"waits for people: {status.approval_progress}; {status.gate.risk.value} risk ({reasons})"


def grant(transition: Transition, given: Approval) -> None:
    """Count one approval; with the last that is needed the release enters LOADING."""
    sealed = given.model_copy(update={"seal": transition.status.gate.seal if transition.status.gate else ""})
    transition.update(approvals=(*transition.status.approvals, sealed))
    status = transition.status
    transition.record(
        Event.RELEASE_APPROVED,
        given.actor,
        channel=given.channel,
        note=given.note,
        seal=sealed.seal,
        **({"issued_by": given.issued_by} if given.issued_by else {}),
        progress=status.approval_progress,
    )
    if status.approved:
        approvers = ", ".join(f"{counted.actor} ({counted.channel})" for counted in status.approvals)
        transition.enter(Phase.LOADING, f"approved by {approvers}")


def drop_withdrawn_approvals(transition: Transition) -> None:
    """Drop approvals that accounts withdrew in the registry, before any other answer is counted."""
    status = transition.status
    if status.phase is not Phase.AWAITING_APPROVAL or not transition.seen.registry_answered:
        return
    withdrawn = approval.withdrawn_approvals(status.approvals, transition.seen.tags)
    for given in withdrawn:
        transition.record(
            Event.RELEASE_APPROVAL_WITHDRAWN, given.actor, given=given.at.isoformat(), channel=given.channel
        )
    if withdrawn:
        transition.update(approvals=tuple(given for given in status.approvals if given not in withdrawn))


def drop_lapsed_approvals(transition: Transition) -> None:
    """Drop approvals that are too old; the ledger gets an entry for each."""
    status = transition.status
    valid = approval.valid_approvals(
        status.approvals, status.candidate.digest, status.approval_policy, transition.now
    )
    for lapsed in [given for given in status.approvals if given not in valid]:
        transition.record(Event.RELEASE_APPROVAL_LAPSED, of=lapsed.actor, given=lapsed.at.isoformat())
    transition.update(approvals=valid)


def reject_if_changed(transition: Transition) -> bool:
    """Reject the release when its files differ from what was gated: no approval and no gate covers them."""
    gate, seal = transition.status.gate, transition.seen.seal
    if gate is None or seal is None or seal == gate.seal:
        return False
    transition.update(approvals=())
    end_release(
        transition, Phase.REJECTED, "its files or its capsule changed since the gate: the approvals lapsed"
    )
    return True


def is_still_allowed(transition: Transition) -> bool:
    """Return whether gate and approvals still cover a candidate that has had no request yet.

    A candidate with a share was covered when it got it. Where the answer is False, the release has gone back
    to AWAITING_APPROVAL, has ended, or an error is counted.
    """
    if transition.has_share:
        return True
    if reject_if_changed(transition):
        return False
    drop_lapsed_approvals(transition)
    status = transition.status
    if not status.approved:
        request = approval_request(status)
        transition.enter(
            Phase.AWAITING_APPROVAL, f"approvals lapsed before the candidate got traffic; {request}"
        )
        return False
    if transition.seen.seal is None:
        errors = "; ".join(transition.seen.errors)
        count_error(transition, errors or "the candidate's files could not be looked at")
        return False
    return True
