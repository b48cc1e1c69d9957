"""Make the request of a person to a release into an intent."""

from __future__ import annotations

from datetime import datetime
from uuid import uuid4

from perennial.core.release.approval import PREFIX, is_among, names_digest, people, refusal
from perennial.core.release.status import Intent, IntentKind, ReleaseStatus
from perennial.errors import ApprovalRefused, ReleaseError, SelfApproval


def intent_for(
    status: ReleaseStatus, kind: str, actor: str, note: str, digest: str, now: datetime, issued_by: str = ""
) -> Intent:
    """Return the intent of a person, bound to the digest of the release.

    Args:
        digest: digest that the person expects, at least its first 8 digits; empty: any.
        issued_by: account that issued the token by which the actor is signed in.

    Raises:
        ApprovalRefused: the release has another digest, its gate has not passed it, or this account has
            approved it already.
        SelfApproval: an account that asked for the release approves it.
        ReleaseError: the release has ended.
    """
    if status.phase.is_final():
        raise ReleaseError(
            f"release {status.release_id} of {status.candidate.version} has ended: {status.phase.value}",
            hint=f"perennial release start {status.model}",
        )
    if digest and not names_digest(digest, status.candidate.digest):
        raise ApprovalRefused(
            f"release {status.release_id} is of {status.candidate.digest}, not of {digest}",
            hint=f"give at least {PREFIX} digits; perennial release status {status.model}",
        )
    if kind == IntentKind.APPROVE:
        _check_approver(status, actor, issued_by)
    return Intent(
        id=f"cli-{uuid4()}",
        release_id=status.release_id,
        kind=IntentKind(kind),
        actor=actor,
        at=now,
        digest=status.candidate.digest,
        note=note,
        channel="cli",
        issued_by=issued_by,
    )


def _check_approver(status: ReleaseStatus, actor: str, issued_by: str) -> None:
    """Refuse at once; the next pass makes the same check again."""
    if status.gate is None or not status.gate.passed:
        raise ApprovalRefused(
            f"{status.candidate} has not passed its gate", hint=f"perennial release status {status.model}"
        )
    refused = refusal(actor, status.approvals, status.asked_by, issued_by)
    if refused and any(is_among(name, status.asked_by) for name in (actor, issued_by)):
        raise SelfApproval(refused, hint=f"asked by: {', '.join(people(status.asked_by))}")
    if refused:
        raise ApprovalRefused(refused, hint=status.approval_progress)
