"""AWAITING_APPROVAL: people are asked; each approval is counted until enough accounts have approved."""

from __future__ import annotations

from perennial.core.events import SystemActor
from perennial.core.release import approval
from perennial.core.release.abort import end_release
from perennial.core.release.approval import Approval, TagAnswer
from perennial.core.release.approving import (
    approval_request,
    drop_lapsed_approvals,
    grant,
    reject_if_changed,
)
from perennial.core.release.phase import Phase
from perennial.core.release.transition import Transition


def run(transition: Transition) -> None:
    """Handle answers in the registry that are not attributed to an account.

    Answers of accounts arrive as intents and are counted before this rule (`perennial.core.release.intents`).
    """
    if reject_if_changed(transition):
        return
    drop_lapsed_approvals(transition)
    status, tag = transition.status, transition.seen.tags.get(approval.TAG)
    answer = approval.read_tag(tag, status.candidate.digest)
    if answer is TagAnswer.REJECTED:
        # A rejection only takes something away, so it needs no account.
        end_release(transition, Phase.REJECTED, "rejected by the tag in MLflow", actor=SystemActor.MLFLOW)
        return
    note = approval_request(status)
    if answer is TagAnswer.APPROVED and approval.registry_answers(transition.seen.tags, status.entered_at):
        # The account's answer has been counted or refused: reset the tag for the next person.
        transition.tag(status.candidate.key, **{approval.TAG: approval.WAITING})
    elif answer is TagAnswer.APPROVED and status.approval_policy.anonymous_tag:
        grant(
            transition,
            Approval(
                digest=status.candidate.digest,
                actor=SystemActor.MLFLOW,
                at=transition.now,
                channel=approval.REGISTRY,
                note=f"tag {approval.TAG}={tag}",
            ),
        )
        return
    elif answer is TagAnswer.APPROVED:
        note = f"tag {approval.TAG} says approved, but MLflow's server does not say who: it counts for nobody; {note}"
    elif answer is not TagAnswer.NONE:
        note = f"tag {approval.TAG} is {answer.value}; {note}"
    transition.update(note=note)
