"""From the gate to the last approval that is needed: the rules of GATED and AWAITING_APPROVAL."""

from __future__ import annotations

from perennial.core.events import Event, SystemActor
from perennial.core.release import approval
from perennial.core.release.abort import leave
from perennial.core.release.approval import Approval, TagAnswer
from perennial.core.release.error_budget import count_error
from perennial.core.release.status import Phase, ReleaseStatus
from perennial.core.release.transition import Turn


def gated(turn: Turn) -> None:
    """The policy approves, or people are asked."""
    status = turn.status
    if status.gate is None or not status.gate.passed:
        leave(turn, Phase.REJECTED, "the gate has not passed")
        return
    given = approval.automatic(status.approval_policy, status.gate.risk, status.candidate.digest, turn.now)
    if given is not None:
        grant(turn, given)
        return
    turn.enter(Phase.AWAITING_APPROVAL, waits_for(status))


def waits_for(status: ReleaseStatus) -> str:
    """Who is still asked, and why."""
    why = "; ".join(status.gate.risk_reasons) or "the spec wants a person"
    return f"waits for people: {status.approval_progress}; {status.gate.risk.value} risk ({why})"


def awaiting(turn: Turn) -> None:
    """What accounts said is counted already (`perennial.core.release.intents`); here is what no account said."""
    if changed(turn):
        return
    lapse(turn)
    status, said = turn.status, turn.seen.tags.get(approval.TAG)
    answer = approval.read_tag(said, status.candidate.digest)
    if answer is TagAnswer.REJECTED:
        # Whoever it was: a word that only takes something away needs no account.
        leave(turn, Phase.REJECTED, "rejected by the tag in MLflow", actor=SystemActor.MLFLOW)
        return
    told = waits_for(status)
    if answer is TagAnswer.APPROVED and approval.said(turn.seen.tags, status.entered_at):
        # Counted, or refused, by its account: the next person edits it anew.
        turn.tag(status.candidate.key, **{approval.TAG: approval.WAITING})
    elif answer is TagAnswer.APPROVED and status.approval_policy.anonymous_tag:
        digest, note = status.candidate.digest, f"tag {approval.TAG}={said}"
        grant(
            turn,
            Approval(
                digest=digest, actor=SystemActor.MLFLOW, at=turn.now, channel=approval.REGISTRY, note=note
            ),
        )
        return
    elif answer is TagAnswer.APPROVED:
        told = f"tag {approval.TAG} says approved, but MLflow's server does not say who: it counts for nobody; {told}"
    elif answer is not TagAnswer.NONE:
        told = f"tag {approval.TAG} is {answer.value}; {told}"
    turn.update(note=told)


def withdraw(turn: Turn) -> None:
    """Drop what accounts took back in the registry, before anybody else's word is counted on top of it."""
    if turn.status.phase is not Phase.AWAITING_APPROVAL or not turn.seen.registry_answered:
        return
    gone = approval.taken_back(turn.status.approvals, turn.seen.tags)
    for one in gone:
        turn.record(
            Event.RELEASE_APPROVAL_WITHDRAWN, one.actor, given=one.at.isoformat(), channel=one.channel
        )
    if gone:
        turn.update(approvals=tuple(one for one in turn.status.approvals if one not in gone))


def changed(turn: Turn) -> bool:
    """What was gated and approved is not what lies there now: no approval covers it, and no gate."""
    gate, now = turn.status.gate, turn.seen.seal
    if gate is None or now is None or not gate.seal or now == gate.seal:
        return False
    turn.update(approvals=())
    leave(turn, Phase.REJECTED, "its files or its capsule changed since the gate: the approvals lapsed")
    return True


def lapse(turn: Turn) -> None:
    """Approvals that are too old count no more; each is said in the ledger."""
    status = turn.status
    stand = approval.standing(status.approvals, status.candidate.digest, status.approval_policy, turn.now)
    for gone in [one for one in status.approvals if one not in stand]:
        turn.record(Event.RELEASE_APPROVAL_LAPSED, of=gone.actor, given=gone.at.isoformat())
    turn.update(approvals=stand)


def allowed(turn: Turn) -> bool:
    """Whether gate and approvals still cover a candidate that no request has reached yet; one that has a share
    was covered when it got it.

    Where they do not, the release has gone back to people, has ended, or an error is counted.
    """
    if turn.has_share:
        return True
    if changed(turn):
        return False
    lapse(turn)
    status = turn.status
    if not status.approved:
        told = f"approvals lapsed before the candidate got traffic; {waits_for(status)}"
        turn.enter(Phase.AWAITING_APPROVAL, told)
        return False
    if status.gate.seal and turn.seen.seal is None:
        count_error(turn, "; ".join(turn.seen.errors) or "the candidate's files could not be looked at")
        return False
    return True


def grant(turn: Turn, given: Approval) -> None:
    """Count one approval. With the last that is needed the candidate may be loaded, and then get traffic."""
    sealed = given.model_copy(update={"seal": turn.status.gate.seal if turn.status.gate else ""})
    turn.update(approvals=(*turn.status.approvals, sealed))
    status = turn.status
    turn.record(
        Event.RELEASE_APPROVED,
        given.actor,
        channel=given.channel,
        note=given.note,
        seal=sealed.seal,
        progress=status.approval_progress,
    )
    if status.approved:
        by = ", ".join(f"{one.actor} ({one.channel})" for one in status.approvals)
        turn.enter(Phase.LOADING, f"approved by {by}")
