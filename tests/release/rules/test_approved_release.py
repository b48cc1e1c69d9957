"""Which release may be brought to all traffic."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from some_release import MODEL, a_release

from perennial.core.release.approval import Approval, Risk
from perennial.core.release.gate_report import GateReport
from perennial.core.release.phase import Phase
from perennial.core.verdict import Judgement, Verdict
from perennial.errors import ApprovalRefused, ReleaseError, UnknownRelease
from perennial.flows.release.deploy import approved_release

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DIGEST = "d" * 64
GATE = GateReport(
    digest=DIGEST,
    risk=Risk.HIGH,
    rules=(Judgement(rule="r", verdict=Verdict.PASS, observed="1", needed="1"),),
)


def by(*people: str, at: datetime = NOW, digest: str = DIGEST) -> tuple[Approval, ...]:
    return tuple(Approval(digest=digest, actor=person, at=at, channel="cli") for person in people)


@pytest.mark.parametrize(
    ("phase", "approvals", "error"),
    [
        (Phase.AWAITING_APPROVAL, by(), ApprovalRefused),
        (Phase.AWAITING_APPROVAL, by("ann"), ApprovalRefused),
        (Phase.AWAITING_APPROVAL, by("ann", "bob", at=NOW - timedelta(days=8)), ApprovalRefused),
        (Phase.AWAITING_APPROVAL, by("ann", "bob", digest="e" * 64), ApprovalRefused),
        (Phase.GATED, by(), ApprovalRefused),
        (Phase.AWAITING_APPROVAL, by("ann", "bob"), None),
        (Phase.CANARY, by("ann", "bob", at=NOW - timedelta(days=8)), None),
        (Phase.SUCCEEDED, by("ann", "bob"), None),
        (Phase.REJECTED, by(), ReleaseError),
        (Phase.ROLLED_BACK, by("ann", "bob"), ReleaseError),
    ],
)
def test_which_release_may_be_deployed(phase, approvals, error):
    status = a_release(NOW - timedelta(hours=1), phase, approvals=approvals, gate=GATE)
    if error is None:
        assert approved_release(MODEL, "1.0.0", [status], NOW) == status
        return
    with pytest.raises(error) as refused:
        approved_release(MODEL, "1.0.0", [status], NOW)
    assert type(refused.value) is error


def test_the_newest_release_of_the_version_counts():
    ended = a_release(NOW - timedelta(days=2), Phase.SUCCEEDED, release_id="r0", gate=GATE)
    again = a_release(NOW, Phase.AWAITING_APPROVAL, gate=GATE)
    with pytest.raises(ApprovalRefused):
        approved_release(MODEL, "1.0.0", [again, ended], NOW)
    with pytest.raises(UnknownRelease, match=r"no release of .* 2\.0\.0"):
        approved_release(MODEL, "2.0.0", [again, ended], NOW)
