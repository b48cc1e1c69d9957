"""The end of a demo says how commands see it, what the gate proved, and what became of a further retraining."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from perennial.core.release.approval import Risk
from perennial.core.release.gate_report import GateReport
from perennial.core.verdict import Judgement, Verdict
from perennial.demo.replay import ReplayCounts
from perennial.demo.report import DemoResult, NextRetraining, commands_line, gate_line, next_line
from perennial.settings import Settings


def test_the_printed_variables_are_those_of_the_demo(tmp_path):
    project = tmp_path / "a demo"
    given = {"spec_overlay": tmp_path / "overlay", "false_drift_warnings_per_month": 1e6}
    settings = Settings(project=project, home=Path(".perennial"), **given)
    line = commands_line(settings, "tumours")
    assert f"PERENNIAL_PROJECT='{project}'" in line
    assert f"PERENNIAL_SPEC_OVERLAY={tmp_path / 'overlay'}" in line
    assert "PERENNIAL_FALSE_DRIFT_WARNINGS_PER_MONTH=1e+06" in line
    assert "perennial retrain effect tumours" in line


def test_the_project_that_is_the_default_need_not_be_named():
    settings = Settings(home=Path(".perennial/demo"), spec_overlay=Path("configs/demo"))
    line = commands_line(settings, "test_failure_predictor")
    assert "PERENNIAL_PROJECT" not in line
    assert "WARNINGS" not in line


def result(**more) -> DemoResult:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return DemoResult(
        source="iofrol", why="", first="1.0.0", champion="1.1.0", shift_began=at, drift_seen=at, drift_text="",
        retrained=at, steps=[], counts=ReplayCounts(), **more,
    )  # fmt: skip


def test_a_further_retraining_says_whether_it_was_made_and_why():
    held = result(further=NextRetraining(made=False, why="2000 labels; no gain is proven"))
    assert next_line(held) == "a further retraining was not made: 2000 labels; no gain is proven"
    assert (held.summary()["next_retraining"], held.summary()["next_retraining_made"]) == (
        "2000 labels; no gain is proven",
        False,
    )
    made = result(further=NextRetraining(made=True, why="2000 labels; its back-test: a gain is likely"))
    assert next_line(made).startswith("a further retraining was requested: ")
    assert made.summary()["next_retraining_made"] is True


def test_the_report_shows_what_the_gate_proved():
    rule = Judgement(
        rule="improvement", verdict=Verdict.PASS, observed="+0.36 [+0.33, +0.60]", needed=">= -0.02"
    )
    gate = GateReport(digest="d", rules=(rule,), risk=Risk.LOW)
    assert gate_line(gate) == "gate: PASS, risk low; improvement +0.36 [+0.33, +0.60] (>= -0.02)"
    assert result(gate=gate).summary()["gate"]["rules"]["improvement"]["verdict"] == "PASS"
    assert result().summary()["gate"] is None
