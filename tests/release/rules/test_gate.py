"""The gate's rules, as tables."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from perennial import catalog
from perennial.core.evaluation.figures_hash import figures_hash
from perennial.core.release.afresh import Afresh
from perennial.core.release.approval import Risk
from perennial.core.release.gate import is_stale, judge
from perennial.core.training.registration import VersionRecord
from perennial.core.verdict import Judgement, Verdict
from perennial.core.version import VersionRef
from perennial.settings import Settings

NOW = datetime(2026, 1, 5, tzinfo=UTC)
DIGEST = "0123456789abcdef" * 4
METRICS = {
    "holdout.roc_auc": 0.7,
    "holdout.brier": 0.2,
    "delta.roc_auc": 0.01,
    "delta.roc_auc.low": -0.01,
    "delta.roc_auc.high": 0.03,
    "parity.max_abs": 1e-7,
}
TAGS = {
    "architecture": "mlp", "features_hash": "f", "data_checks": "passed", "champion.digest": DIGEST,
}  # fmt: skip


def record(metrics=(), tags=(), without=()) -> VersionRecord:
    """As registered; `without` leaves out metrics and tags."""
    both = {**METRICS, **dict(metrics)}
    shown = {key: value for key, value in both.items() if key not in without}
    known = {**TAGS, "figures_hash": figures_hash(shown), **dict(tags)}
    return VersionRecord(
        ref=VersionRef(model="m", version="1.1.0", key="2", digest=DIGEST, capsule="c"),
        run_id="r",
        created=NOW,
        tags={key: value for key, value in known.items() if key not in without},
        metrics=shown,
    )


@pytest.fixture(scope="module")
def spec():
    return catalog.spec("test_failure_predictor", Settings()).gate


@pytest.mark.parametrize(
    ("candidate", "rule", "verdict", "risk"),
    [
        (record(), "roc_auc", Verdict.PASS, Risk.LOW),
        (record({"holdout.roc_auc": 0.59}), "roc_auc", Verdict.FAIL, Risk.LOW),
        (record({"holdout.groups": 1}), "roc_auc", Verdict.UNSURE, Risk.MEDIUM),
        (
            record({"holdout.groups": 1}, without=("delta.roc_auc.high", "delta.roc_auc.low")),
            "improvement",
            Verdict.UNSURE,
            Risk.MEDIUM,
        ),
        (record({"holdout.brier": 0.26}), "brier", Verdict.FAIL, Risk.LOW),
        (
            record({"holdout.roc_auc": 0.59, "holdout.roc_auc.high": 0.65}),
            "roc_auc",
            Verdict.UNSURE,
            Risk.MEDIUM,
        ),
        (record({"holdout.roc_auc": 0.55, "holdout.roc_auc.high": 0.59}), "roc_auc", Verdict.FAIL, Risk.LOW),
        (record({"holdout.brier": 0.29, "holdout.brier.low": 0.16}), "brier", Verdict.UNSURE, Risk.MEDIUM),
        (record(without=("holdout.brier",)), "brier", Verdict.ERROR, Risk.LOW),
        (record({"delta.roc_auc": -0.02}), "improvement", Verdict.PASS, Risk.LOW),
        (record({"delta.roc_auc": -0.03}), "improvement", Verdict.UNSURE, Risk.MEDIUM),
        (
            record({"delta.roc_auc": -0.1, "delta.roc_auc.high": -0.05}),
            "improvement",
            Verdict.FAIL,
            Risk.LOW,
        ),
        (record(without=("delta.roc_auc.high",)), "improvement", Verdict.ERROR, Risk.LOW),
        (record({"parity.max_abs": 1e-3}), "parity", Verdict.FAIL, Risk.LOW),
        (record(without=("parity.max_abs",)), "parity", Verdict.ERROR, Risk.LOW),
        (record(tags={"data_checks": "failed: nulls"}), "data_checks", Verdict.FAIL, Risk.LOW),
        (record(without=("data_checks",)), "data_checks", Verdict.ERROR, Risk.LOW),
        (record(tags={"architecture": "gru"}), "roc_auc", Verdict.PASS, Risk.HIGH),
        (record(tags={"features_hash": "g"}), "roc_auc", Verdict.PASS, Risk.HIGH),
        (record(without=("architecture",)), "roc_auc", Verdict.PASS, Risk.HIGH),
        (record({"slice.worst_delta": -0.11}), "worst_slice", Verdict.UNSURE, Risk.HIGH),
        (record({"slice.worst_delta": -0.09}), "worst_slice", Verdict.PASS, Risk.LOW),
        (record(), "worst_slice", Verdict.PASS, Risk.LOW),
    ],
)
def test_rules(spec, candidate, rule, verdict, risk):
    report = judge(spec, candidate, record(), [5.0] * 20)
    assert {one.rule: one.verdict for one in report.rules}[rule] is verdict
    assert report.risk is risk
    assert report.passed is (verdict in (Verdict.PASS, Verdict.UNSURE))
    assert bool(report.failures) is not report.passed


@pytest.mark.parametrize(
    ("latencies", "verdict"),
    [
        ([5.0] * 100, "PASS"),
        ([5.0] * 94 + [200.0] * 6, "FAIL"),
        ([5.0] * 95 + [200.0] * 5, "PASS"),
        ([], "ERROR"),
    ],
)
def test_latency(spec, latencies, verdict):
    report = judge(spec, record(), record(), latencies)
    assert {one.rule: one.verdict.value for one in report.rules}["latency"] == verdict


@pytest.mark.parametrize(
    ("against", "words"),
    [
        ("f" * 64, f"evaluated against {'f' * 12}, champion is {DIGEST[:12]}"),
        ("none", f"evaluated against none, champion is {DIGEST[:12]}"),
        (None, "no tag champion.digest"),
    ],
)
def test_a_comparison_with_another_champion_says_nothing_of_this_one(spec, against, words):
    """It was better than the former champion by 0.01; how it stands against the present one nobody knows."""
    tags, without = ({}, ("champion.digest",)) if against is None else ({"champion.digest": against}, ())
    report = judge(spec, record({"delta.roc_auc": 0.01}, tags, without), record(), [5.0])
    assert not report.passed
    verdicts = {one.rule: one.verdict for one in report.rules}
    assert verdicts["improvement"] is verdicts["worst_slice"] is Verdict.ERROR
    assert words in report.failures[0]
    assert "train again" in report.failures[0]


def test_figures_made_afresh_beside_this_champion_are_judged_in_place_of_stale_ones(spec):
    stale = record({"delta.roc_auc": 0.5, "slice.worst_delta": 0.0}, {"champion.digest": "f" * 64})
    since = datetime(2026, 3, 2, tzinfo=UTC)

    def rules(**figures):
        metrics = {"delta.roc_auc": 0.02, "delta.roc_auc.low": 0.01, "delta.roc_auc.high": 0.03} | figures
        afresh = Afresh(since=since, labels=500, needed=200, metrics=metrics)
        report = judge(spec, stale, record(), [5.0], afresh=afresh)
        return {one.rule: one for one in report.rules}

    assert is_stale(stale, record())
    assert not is_stale(record(), record())
    assert not is_stale(stale, None)
    better = rules()
    assert better["improvement"].verdict is better["worst_slice"].verdict is Verdict.PASS
    assert "evaluated afresh on 500 labelled answers" in better["improvement"].observed
    assert rules(**{"delta.roc_auc": -0.5, "delta.roc_auc.high": -0.4})["improvement"].verdict is Verdict.FAIL
    assert rules()["figures"].verdict is Verdict.PASS, "the registered figures are still those of the run"
    few = judge(spec, stale, record(), [5.0], afresh=Afresh(since=since, labels=20, needed=200))
    assert {one.rule: one for one in few.rules}["improvement"].verdict is Verdict.ERROR
    assert "20 labelled answers since both trainings, 200 are needed" in few.failures[0]


def test_without_a_champion_nothing_is_compared(spec):
    assert judge(spec, record(tags={"champion.digest": "none"}), None, [5.0]).passed
    assert judge(spec, record(without=("champion.digest",)), None, [5.0]).passed


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("holdout.roc_auc", 0.9), ("holdout.roc_auc.high", 0.9), ("delta.roc_auc", 0.2), ("champion.brier", 0.1),
        ("slice.worst_delta", 0.1), ("parity.max_abs", 0.0),
    ],
)  # fmt: skip
def test_figures_logged_after_the_registration_do_not_count(spec, name, value):
    registered = record()
    logged = registered.model_copy(update={"metrics": {**registered.metrics, name: value}})
    for champion in (record(), None):
        report = judge(spec, logged, champion, [5.0])
        assert not report.passed
        assert "train again" in report.failures[0]
    logged = registered.model_copy(update={"metrics": {**registered.metrics, "loss": 0.1}})
    assert judge(spec, logged, record(), [5.0]).passed, "the gate reads no such metric"


def test_a_version_that_does_not_hold_its_figures_does_not_pass(spec):
    (failure,) = judge(spec, record(without=("figures_hash",)), None, [5.0]).failures
    assert "figures_hash" in failure


def test_first_version_is_high_risk_and_needs_no_comparison(spec):
    report = judge(spec, record(without=("delta.roc_auc",)), None, [5.0])
    assert report.passed
    assert report.risk is Risk.HIGH


@pytest.mark.parametrize(
    ("verdict", "passed", "risk"),
    [
        (Verdict.PASS, True, Risk.LOW),
        (Verdict.UNSURE, True, Risk.MEDIUM),
        (Verdict.FAIL, False, Risk.LOW),
        (Verdict.ERROR, False, Risk.LOW),
    ],
)
def test_checks_are_rules_of_the_gate(spec, verdict, passed, risk):
    check = Judgement(rule="safety", verdict=verdict, observed="o", needed="n")
    report = judge(spec, record(), record(), [5.0], [check])
    assert (report.passed, report.risk) == (passed, risk)
    assert report.tags()["gate.safety"] == f"{verdict}: o (n)"


def test_report_as_tags(spec):
    tags = judge(spec, record(), None, [5.0]).tags()
    assert tags["gate.digest"] == DIGEST
    assert tags["gate.verdict"] == "PASS"
    assert tags["gate.risk"].startswith("high; the first version")
