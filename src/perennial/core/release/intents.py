"""What people ask of a release, obeyed or refused once each, in the order it came."""

from __future__ import annotations

from collections.abc import Callable

from perennial.core.events import Event
from perennial.core.release import approval
from perennial.core.release.abort import leave
from perennial.core.release.approval import Approval, TagAnswer
from perennial.core.release.approving import allowed, grant
from perennial.core.release.plan import promotes
from perennial.core.release.status import Intent, IntentKind, Pause, Phase
from perennial.core.release.traffic import PoolName
from perennial.core.release.transition import Turn


def obey(turn: Turn) -> None:
    """Take the intents not yet consumed, up to the first that changes the phase: the rest waits."""
    begun = (turn.status.phase, turn.status.step)
    for intent in (*turn.seen.intents, *_from_tags(turn)):
        if intent.id in turn.status.consumed:
            continue
        refusal = _refusal(turn, intent) or OBEY[intent.kind](turn, intent)
        turn.update(consumed=(*turn.status.consumed, intent.id))
        if refusal:
            turn.record(
                Event.RELEASE_INTENT_REFUSED,
                intent.actor,
                intent=intent.kind.value,
                channel=intent.channel,
                note=intent.note,
                why=refusal,
            )
        if (turn.status.phase, turn.status.step) != begun:
            return


def _from_tags(turn: Turn) -> tuple[Intent, ...]:
    """What accounts said in the registry since it was asked, as intents of theirs."""
    status = turn.status
    if status.phase is not Phase.AWAITING_APPROVAL:
        return ()
    return tuple(
        Intent(
            id=f"mlflow-{status.release_id}-{one.account}-{one.answer.value}-{one.at.isoformat()}",
            release_id=status.release_id,
            kind=IntentKind.APPROVE if one.answer is TagAnswer.APPROVED else IntentKind.REJECT,
            actor=one.account,
            at=min(one.at, turn.now),  # a clock that is ahead must not make an approval last longer
            digest=one.digest,
            note=f"tag {approval.BY}{one.account}",
            channel=approval.REGISTRY,
        )
        for one in approval.said(turn.seen.tags, status.entered_at)
    )


def _refusal(turn: Turn, intent: Intent) -> str:
    if intent.digest != turn.status.candidate.digest:
        return f"it names the digest {intent.digest[:12]}, not {turn.status.candidate.digest[:12]}"
    live = turn.seen.route
    if live is not None and live.stable.digest == turn.status.candidate.digest:
        return "the candidate has all traffic already: `perennial release rollback` takes it back"
    return ""


def _approve(turn: Turn, intent: Intent) -> str:
    status = turn.status
    if status.phase not in (Phase.GATED, Phase.AWAITING_APPROVAL):
        return f"nothing to approve in phase {status.phase.value}"
    if status.gate is None or not status.gate.passed or status.gate.digest != status.candidate.digest:
        return "the gate has not passed this digest"
    given = Approval(
        digest=intent.digest, actor=intent.actor, at=intent.at, channel=intent.channel, note=intent.note
    )
    if not given.valid(status.candidate.digest, status.approval_policy, turn.now):
        return "the approval lapsed"
    refused = approval.refusal(given.actor, status.approvals, status.asked_by)
    if not refused:
        grant(turn, given)
    return refused


def _reject(turn: Turn, intent: Intent) -> str:
    if turn.status.phase is Phase.ABORTING:
        return "it is being taken back already"
    before = turn.status.phase.is_before_traffic()
    said = f": {intent.note}" if intent.note else ""
    outcome = Phase.REJECTED if before else Phase.ROLLED_BACK
    verb = "rejected" if intent.kind is IntentKind.REJECT else "aborted"
    leave(turn, outcome, f"{verb} by {intent.actor} ({intent.channel}){said}", intent.actor)
    return ""


def _pause(turn: Turn, intent: Intent) -> str:
    if turn.status.phase is Phase.ABORTING:
        return "it is being taken back: that is not held up"
    turn.update(pauses=turn.status.pauses | {Pause.PERSON}, note=f"paused by {intent.actor}: {intent.note}")
    turn.record(
        Event.RELEASE_PAUSED, intent.actor, why=Pause.PERSON.value, note=intent.note, channel=intent.channel
    )
    return ""


def _resume(turn: Turn, intent: Intent) -> str:
    """The hold starts anew: what was counted while it was paused is no evidence for the step."""
    if not turn.status.pauses:
        return "it is not paused"
    turn.update(
        pauses=frozenset(),
        entered_at=turn.now,
        counted={},
        baseline=dict(turn.seen.counters),
        accuracy={},
        accuracy_at=None,
        units=None,
        errors_in_a_row=0,
        last_error_at=None,
        note=f"resumed by {intent.actor}",
    )
    turn.record(Event.RELEASE_RESUMED, intent.actor, note=intent.note, channel=intent.channel)
    return ""


def _promote(turn: Turn, intent: Intent) -> str:
    status = turn.status
    if not status.approved:
        return "it is not approved"
    if status.phase not in (Phase.LOADING, Phase.SHADOW, Phase.CANARY):
        return f"cannot skip ahead from {status.phase.value}"
    if not promotes(status.policy):
        return f"{status.policy.strategy} never gets traffic: release it under another strategy"
    if turn.seen.older_active:
        return "the release before it still holds traffic"
    if status.phase is Phase.LOADING and not allowed(turn):
        return f"no longer allowed: {turn.status.note}"
    turn.update(pauses=frozenset())
    turn.enter(
        Phase.PROMOTING, f"promoted by {intent.actor} ({intent.channel}), skipping the rest", intent.actor
    )
    turn.ensure(PoolName.STABLE)
    return ""


OBEY: dict[IntentKind, Callable[[Turn, Intent], str]] = {
    IntentKind.APPROVE: _approve,
    IntentKind.REJECT: _reject,
    IntentKind.PAUSE: _pause,
    IntentKind.RESUME: _resume,
    IntentKind.PROMOTE: _promote,
    IntentKind.ABORT: _reject,
}
