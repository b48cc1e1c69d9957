"""From the gate to the last approval that is needed: the rules of GATED and AWAITING_APPROVAL."""

from __future__ import annotations

from perennial.core.events import Event, SystemActor
from perennial.core.release import approval
from perennial.core.release.abort import end_release
from perennial.core.release.approval import Approval, TagAnswer
from perennial.core.release.error_budget import count_error
from perennial.core.release.phase import Phase
from perennial.core.release.status import ReleaseStatus
from perennial.core.release.transition import Transition


def gated(transition: Transition) -> None:
    """The policy approves, or people are asked."""
    status = transition.status
    if status.gate is None or not status.gate.passed:
        end_release(transition, Phase.REJECTED, "the gate has not passed")
        return
    given = approval.automatic(
        status.approval_policy, status.gate.risk, status.candidate.digest, transition.now
    )
    if given is not None:
        grant(transition, given)
        return
    transition.enter(Phase.AWAITING_APPROVAL, waits_for(status))


def waits_for(status: ReleaseStatus) -> str:
    """Who is still asked, and why."""
    why = "; ".join(status.gate.risk_reasons) or "the spec wants a person"
    return f"waits for people: {status.approval_progress}; {status.gate.risk.value} risk ({why})"


def awaiting(transition: Transition) -> None:
    """What accounts said is counted already (`perennial.core.release.intents`); here is what no account said."""
    if changed(transition):
        return
    lapse(transition)
    status, said = transition.status, transition.seen.tags.get(approval.TAG)
    answer = approval.read_tag(said, status.candidate.digest)
    if answer is TagAnswer.REJECTED:
        # Whoever it was: a word that only takes something away needs no account.
        end_release(transition, Phase.REJECTED, "rejected by the tag in MLflow", actor=SystemActor.MLFLOW)
        return
    told = waits_for(status)
    if answer is TagAnswer.APPROVED and approval.registry_answers(transition.seen.tags, status.entered_at):
        # Counted, or refused, by its account: the next person edits it anew.
        transition.tag(status.candidate.key, **{approval.TAG: approval.WAITING})
    elif answer is TagAnswer.APPROVED and status.approval_policy.anonymous_tag:
        digest, note = status.candidate.digest, f"tag {approval.TAG}={said}"
        grant(
            transition,
            Approval(
                digest=digest,
                actor=SystemActor.MLFLOW,
                at=transition.now,
                channel=approval.REGISTRY,
                note=note,
            ),
        )
        return
    elif answer is TagAnswer.APPROVED:
        told = f"tag {approval.TAG} says approved, but MLflow's server does not say who: it counts for nobody; {told}"
    elif answer is not TagAnswer.NONE:
        told = f"tag {approval.TAG} is {answer.value}; {told}"
    transition.update(note=told)


def withdraw(transition: Transition) -> None:
    """Drop what accounts took back in the registry, before anybody else's word is counted on top of it."""
    if transition.status.phase is not Phase.AWAITING_APPROVAL or not transition.seen.registry_answered:
        return
    gone = approval.withdrawn_approvals(transition.status.approvals, transition.seen.tags)
    for one in gone:
        transition.record(
            Event.RELEASE_APPROVAL_WITHDRAWN, one.actor, given=one.at.isoformat(), channel=one.channel
        )
    if gone:
        transition.update(approvals=tuple(one for one in transition.status.approvals if one not in gone))


def changed(transition: Transition) -> bool:
    """What was gated and approved is not what lies there now: no approval covers it, and no gate."""
    gate, now = transition.status.gate, transition.seen.seal
    if gate is None or now is None or not gate.seal or now == gate.seal:
        return False
    transition.update(approvals=())
    end_release(
        transition, Phase.REJECTED, "its files or its capsule changed since the gate: the approvals lapsed"
    )
    return True


def lapse(transition: Transition) -> None:
    """Approvals that are too old count no more; each is said in the ledger."""
    status = transition.status
    stand = approval.valid_approvals(
        status.approvals, status.candidate.digest, status.approval_policy, transition.now
    )
    for gone in [one for one in status.approvals if one not in stand]:
        transition.record(Event.RELEASE_APPROVAL_LAPSED, of=gone.actor, given=gone.at.isoformat())
    transition.update(approvals=stand)


def allowed(transition: Transition) -> bool:
    """Whether gate and approvals still cover a candidate that no request has reached yet; one that has a share
    was covered when it got it.

    Where they do not, the release has gone back to people, has ended, or an error is counted.
    """
    if transition.has_share:
        return True
    if changed(transition):
        return False
    lapse(transition)
    status = transition.status
    if not status.approved:
        told = f"approvals lapsed before the candidate got traffic; {waits_for(status)}"
        transition.enter(Phase.AWAITING_APPROVAL, told)
        return False
    if status.gate.seal and transition.seen.seal is None:
        count_error(
            transition, "; ".join(transition.seen.errors) or "the candidate's files could not be looked at"
        )
        return False
    return True


def grant(transition: Transition, given: Approval) -> None:
    """Count one approval. With the last that is needed the candidate may be loaded, and then get traffic."""
    sealed = given.model_copy(update={"seal": transition.status.gate.seal if transition.status.gate else ""})
    transition.update(approvals=(*transition.status.approvals, sealed))
    status = transition.status
    transition.record(
        Event.RELEASE_APPROVED,
        given.actor,
        channel=given.channel,
        note=given.note,
        seal=sealed.seal,
        progress=status.approval_progress,
    )
    if status.approved:
        by = ", ".join(f"{one.actor} ({one.channel})" for one in status.approvals)
        transition.enter(Phase.LOADING, f"approved by {by}")
