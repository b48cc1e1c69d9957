"""Apply what people ask of a release: each intent once, in the order of arrival, or refuse it."""

from __future__ import annotations

from collections.abc import Callable

from perennial.core.events import Event
from perennial.core.release import approval
from perennial.core.release.abort import end_release
from perennial.core.release.approval import Approval, TagAnswer
from perennial.core.release.approving import grant, is_still_allowed
from perennial.core.release.phase import Phase
from perennial.core.release.plan import promotes
from perennial.core.release.status import Intent, IntentKind, Pause
from perennial.core.release.traffic import PoolName
from perennial.core.release.transition import Transition


def apply_intents(transition: Transition) -> None:
    """Take the intents not yet consumed, up to the first that changes the phase; the rest waits."""
    begun = (transition.status.phase, transition.status.step)
    for intent in (*transition.seen.intents, *_registry_intents(transition)):
        if intent.id in transition.status.consumed:
            continue
        refusal = _refusal(transition, intent) or HANDLERS[intent.kind](transition, intent)
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


def _registry_intents(transition: Transition) -> tuple[Intent, ...]:
    """Return the answers that accounts gave in the registry since they were asked, as intents."""
    status = transition.status
    if status.phase is not Phase.AWAITING_APPROVAL:
        return ()
    return tuple(
        Intent(
            id=f"mlflow-{status.release_id}-{reply.account}-{reply.answer.value}-{reply.at.isoformat()}",
            release_id=status.release_id,
            kind=IntentKind.APPROVE if reply.answer is TagAnswer.APPROVED else IntentKind.REJECT,
            actor=reply.account,
            at=min(reply.at, transition.now),  # a clock that is ahead must not make an approval last longer
            digest=reply.digest,
            note=f"tag {approval.BY}{reply.account}",
            channel=approval.REGISTRY,
        )
        for reply in approval.registry_answers(transition.seen.tags, status.entered_at)
    )


def _refusal(transition: Transition, intent: Intent) -> str:
    candidate, live = transition.status.candidate, transition.seen.route
    if intent.digest != candidate.digest:
        return f"it names the digest {intent.digest[:12]}, not {candidate.digest[:12]}"
    if live is not None and live.stable.digest == candidate.digest:
        return "the candidate has all traffic already: `perennial release rollback` takes it back"
    return ""


def _approve(transition: Transition, intent: Intent) -> str:
    status = transition.status
    if status.phase not in (Phase.GATED, Phase.AWAITING_APPROVAL):
        return f"nothing to approve in phase {status.phase.value}"
    if status.gate is None or not status.gate.passed or status.gate.digest != status.candidate.digest:
        return "the gate has not passed this digest"
    given = Approval(
        digest=intent.digest,
        actor=intent.actor,
        at=intent.at,
        channel=intent.channel,
        note=intent.note,
        issued_by=intent.issued_by,
    )
    if not given.valid(status.candidate.digest, status.approval_policy, transition.now):
        return "the approval lapsed"
    refused = approval.refusal(given.actor, status.approvals, status.asked_by, given.issued_by)
    if not refused:
        grant(transition, given)
    return refused


def _reject(transition: Transition, intent: Intent) -> str:
    if transition.status.phase is Phase.ABORTING:
        return "it is being taken back already"
    outcome = Phase.REJECTED if transition.status.phase.is_before_traffic() else Phase.ROLLED_BACK
    verb = "rejected" if intent.kind is IntentKind.REJECT else "aborted"
    reason = f": {intent.note}" if intent.note else ""
    end_release(transition, outcome, f"{verb} by {intent.actor} ({intent.channel}){reason}", intent.actor)
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
    """Begin the step anew: what was counted while it was paused is no evidence for it."""
    if not transition.status.pauses:
        return "it is not paused"
    transition.update(
        pauses=frozenset(), note=f"resumed by {intent.actor}", **transition.fresh_measurements()
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
    if status.phase is Phase.LOADING and not is_still_allowed(transition):
        return f"no longer allowed: {transition.status.note}"
    transition.update(pauses=frozenset())
    why = f"promoted by {intent.actor} ({intent.channel}), skipping the rest"
    transition.enter(Phase.PROMOTING, why, intent.actor)
    transition.ensure(PoolName.STABLE)
    return ""


HANDLERS: dict[IntentKind, Callable[[Transition, Intent], str]] = {
    IntentKind.APPROVE: _approve,
    IntentKind.REJECT: _reject,
    IntentKind.PAUSE: _pause,
    IntentKind.RESUME: _resume,
    IntentKind.PROMOTE: _promote,
    IntentKind.ABORT: _reject,
}
"""Kind of an intent to its handler, which returns why it refuses, or an empty text."""
