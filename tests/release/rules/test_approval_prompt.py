"""What people read before they allow a release."""

from __future__ import annotations

from datetime import UTC, datetime

from some_release import MODEL, a_release

from perennial.core.release import approval_prompt as question
from perennial.core.release.approval import Approval, Risk
from perennial.core.release.gate_report import GateReport
from perennial.core.release.phase import Phase
from perennial.core.release.status import ReleaseStatus
from perennial.core.verdict import Judgement, Verdict
from perennial.core.version import VersionRef

NOW = datetime(2026, 1, 5, tzinfo=UTC)
RULES = (
    Judgement(rule="latency", verdict=Verdict.PASS, observed="p95 4 ms", needed="<= 50"),
    Judgement(rule="brier", verdict=Verdict.UNSURE, observed="0.12 [0.10|0.14]", needed="<= 0.13"),
)


def gated(**more) -> ReleaseStatus:
    report = GateReport(
        digest="d" * 64, rules=RULES, risk=Risk.HIGH, risk_reasons=("the first version",), **more
    )
    ref = VersionRef(model=MODEL, version="1.1.0", key="7", digest="d" * 64, capsule="c")
    return a_release(NOW, Phase.AWAITING_APPROVAL, candidate=ref, asked_by=("bob",), gate=report)


def test_names_the_version_its_risk_and_who_is_still_needed():
    status = gated()
    assert question.subject(status) == "Release test_failure_predictor 1.1.0?"
    told = question.body(status, "http://m")
    assert "digest dddddddddddd" in told
    assert "Risk: **high**: the first version." in told
    assert "0 of 2; still needs 2, not bob (who asked)" in told
    assert "(http://m/#/models/test_failure_predictor/versions/7)" in told


def test_tells_who_has_answered():
    given = Approval(digest="d" * 64, actor="ann", at=NOW, channel="mlflow", note="")
    assert "1 of 2: ann; still needs 1 more" in question.body(
        gated().model_copy(update={"approvals": (given,)}), "http://m"
    )


def test_the_worst_rule_stands_first_and_no_cell_breaks_the_table():
    rows = [line for line in question.body(gated(), "").splitlines() if line.startswith("|")]
    assert rows[2:] == [
        "| brier | UNSURE | 0.12 [0.10/0.14] | <= 0.13 |",
        "| latency | PASS | p95 4 ms | <= 50 |",
    ]


def test_a_warning_is_told():
    assert "Warnings: error rate is missed." in question.body(gated(warnings=("error rate is missed",)), "")
