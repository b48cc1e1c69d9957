"""What people ask of a release, obeyed or refused once each, in the order it came."""

from __future__ import annotations

from collections.abc import Callable

from perennial.core.events import Event
from perennial.core.release import approval
from perennial.core.release.abort import end_release
from perennial.core.release.approval import Approval, TagAnswer
from perennial.core.release.approving import allowed, grant
from perennial.core.release.phase import Phase
from perennial.core.release.plan import promotes
from perennial.core.release.status import Intent, IntentKind, Pause
from perennial.core.release.traffic import PoolName
from perennial.core.release.transition import Transition


def apply_intents(transition: Transition) -> None:
    """Take the intents not yet consumed, up to the first that changes the phase: the rest waits."""
    begun = (transition.status.phase, transition.status.step)
    for intent in (*transition.seen.intents, *_from_tags(transition)):
        if intent.id in transition.status.consumed:
            continue
        refusal = _refusal(transition, intent) or OBEY[intent.kind](transition, intent)
        transition.update(consumed=(*transition.status.consumed, intent.id))
        if refusal:
            transition.record(
                Event.RELEASE_INTENT_REFUSED,
                intent.actor,
                intent=intent.kind.value,
                channel=intent.channel,
                note=intent.note,
                why=refusal,
            )
        if (transition.status.phase, transition.status.step) != begun:
            return


def _from_tags(transition: Transition) -> tuple[Intent, ...]:
    """What accounts said in the registry since it was asked, as intents of theirs."""
    status = transition.status
    if status.phase is not Phase.AWAITING_APPROVAL:
        return ()
    return tuple(
        Intent(
            id=f"mlflow-{status.release_id}-{one.account}-{one.answer.value}-{one.at.isoformat()}",
            release_id=status.release_id,
            kind=IntentKind.APPROVE if one.answer is TagAnswer.APPROVED else IntentKind.REJECT,
            actor=one.account,
            at=min(one.at, transition.now),  # a clock that is ahead must not make an approval last longer
            digest=one.digest,
            note=f"tag {approval.BY}{one.account}",
            channel=approval.REGISTRY,
        )
        for one in approval.registry_answers(transition.seen.tags, status.entered_at)
    )


def _refusal(transition: Transition, intent: Intent) -> str:
    if intent.digest != transition.status.candidate.digest:
        return f"it names the digest {intent.digest[:12]}, not {transition.status.candidate.digest[:12]}"
    live = transition.seen.route
    if live is not None and live.stable.digest == transition.status.candidate.digest:
        return "the candidate has all traffic already: `perennial release rollback` takes it back"
    return ""


def _approve(transition: Transition, intent: Intent) -> str:
    status = transition.status
    if status.phase not in (Phase.GATED, Phase.AWAITING_APPROVAL):
        return f"nothing to approve in phase {status.phase.value}"
    if status.gate is None or not status.gate.passed or status.gate.digest != status.candidate.digest:
        return "the gate has not passed this digest"
    given = Approval(
        digest=intent.digest, actor=intent.actor, at=intent.at, channel=intent.channel, note=intent.note
    )
    if not given.valid(status.candidate.digest, status.approval_policy, transition.now):
        return "the approval lapsed"
    refused = approval.refusal(given.actor, status.approvals, status.asked_by)
    if not refused:
        grant(transition, given)
    return refused


def _reject(transition: Transition, intent: Intent) -> str:
    if transition.status.phase is Phase.ABORTING:
        return "it is being taken back already"
    before = transition.status.phase.is_before_traffic()
    said = f": {intent.note}" if intent.note else ""
    outcome = Phase.REJECTED if before else Phase.ROLLED_BACK
    verb = "rejected" if intent.kind is IntentKind.REJECT else "aborted"
    end_release(transition, outcome, f"{verb} by {intent.actor} ({intent.channel}){said}", intent.actor)
    return ""


def _pause(transition: Transition, intent: Intent) -> str:
    if transition.status.phase is Phase.ABORTING:
        return "it is being taken back: that is not held up"
    transition.update(
        pauses=transition.status.pauses | {Pause.PERSON}, note=f"paused by {intent.actor}: {intent.note}"
    )
    transition.record(
        Event.RELEASE_PAUSED, intent.actor, why=Pause.PERSON.value, note=intent.note, channel=intent.channel
    )
    return ""


def _resume(transition: Transition, intent: Intent) -> str:
    """The hold starts anew: what was counted while it was paused is no evidence for the step."""
    if not transition.status.pauses:
        return "it is not paused"
    transition.update(
        pauses=frozenset(),
        entered_at=transition.now,
        counted={},
        baseline=dict(transition.seen.counters),
        accuracy={},
        accuracy_at=None,
        units=None,
        errors_in_a_row=0,
        last_error_at=None,
        note=f"resumed by {intent.actor}",
    )
    transition.record(Event.RELEASE_RESUMED, intent.actor, note=intent.note, channel=intent.channel)
    return ""


def _promote(transition: Transition, intent: Intent) -> str:
    status = transition.status
    if not status.approved:
        return "it is not approved"
    if status.phase not in (Phase.LOADING, Phase.SHADOW, Phase.CANARY):
        return f"cannot skip ahead from {status.phase.value}"
    if not promotes(status.policy):
        return f"{status.policy.strategy} never gets traffic: release it under another strategy"
    if transition.seen.older_active:
        return "the release before it still holds traffic"
    if status.phase is Phase.LOADING and not allowed(transition):
        return f"no longer allowed: {transition.status.note}"
    transition.update(pauses=frozenset())
    transition.enter(
        Phase.PROMOTING, f"promoted by {intent.actor} ({intent.channel}), skipping the rest", intent.actor
    )
    transition.ensure(PoolName.STABLE)
    return ""


OBEY: dict[IntentKind, Callable[[Transition, Intent], str]] = {
    IntentKind.APPROVE: _approve,
    IntentKind.REJECT: _reject,
    IntentKind.PAUSE: _pause,
    IntentKind.RESUME: _resume,
    IntentKind.PROMOTE: _promote,
    IntentKind.ABORT: _reject,
}
