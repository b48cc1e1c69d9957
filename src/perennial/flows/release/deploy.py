"""Find the release by which a version may get all traffic: approved, and not ended in another way."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from perennial.core.release.approval import valid_approvals
from perennial.core.release.phase import Phase
from perennial.core.release.status import ReleaseStatus
from perennial.errors import ApprovalRefused, ReleaseError, UnknownRelease


def approved_release(
    model: str, version: str, releases: Iterable[ReleaseStatus], now: datetime
) -> ReleaseStatus:
    """Return the newest release of the version, which people or the policy have approved; changes nothing.

    Args:
        releases: those of the model, newest first.

    Raises:
        UnknownRelease: the version was never offered.
        ApprovalRefused: it is not approved, not by enough people, or the approvals have lapsed.
        ReleaseError: its release ended in another way, so its approval is used up.
    """
    status = next((release for release in releases if release.candidate.version == version), None)
    if status is None:
        raise UnknownRelease(
            f"there is no release of {model} {version}",
            hint=f"perennial release start {model} --version {version}",
        )
    if status.phase is Phase.SUCCEEDED:
        return status
    if status.phase.is_final():
        raise ReleaseError(
            f"the release of {status.candidate} ended {status.phase.value}: {status.note}",
            hint=f"perennial release start {model} --version {version} --again",
        )
    valid = valid_approvals(status.approvals, status.candidate.digest, status.approval_policy, now)
    current = status.model_copy(update={"approvals": valid})
    # A release in traffic was approved; its passes take back what may not stay.
    if status.phase.is_before_traffic() and not current.approved:
        raise ApprovalRefused(
            f"{status.candidate} is not approved: {current.approval_progress}",
            hint=f"perennial release approve {model}, by somebody who may; nothing was changed",
        )
    return status
