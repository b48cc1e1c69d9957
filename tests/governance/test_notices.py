"""What is worth telling, and in which words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from perennial.core.events import Entry, LedgerRow
from perennial.core.governance.ledger import GENESIS, chain
from perennial.core.governance.notices import (
    EVIDENCE,
    GIVE_UP,
    LONGEST_WAIT,
    Delivery,
    Links,
    compose,
    is_notable,
)

NOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
LINKS = Links(mlflow="http://m:5050", airflow="http://a:8080")


def row(kind: str, actor: str = "machine", **payload) -> LedgerRow:
    entry = Entry(
        at=NOW,
        actor=actor,
        kind=kind,
        model="m",
        release_id="r",
        digest="d" * 64,
        payload={"version": "1.1.0", **payload},
    )
    return chain(entry, 1, GENESIS)


@pytest.mark.parametrize(
    ("told", "notable"),
    [
        (row("release.awaiting_approval"), True),
        (row("release.paused"), True),
        (row("release.paused", actor="ann"), False),
        (row("release.rolled_back"), True),
        (row("release.rejected"), True),
        (row("release.succeeded"), True),
        (row("release.rollback", actor="ann"), True),
        (row("release.withdrawn", actor="ann"), True),
        (row("release.aborting"), False),
        (row("release.canary"), False),
        (row("release.gated"), False),
        (row("monitor.level", to="retrain"), True),
        (row("monitor.level", to="warn"), False),
        (row("retrain.withheld", why="a is missing"), True),
        (row("retrain.requested"), False),
        (row("notify.undelivered"), False),
    ],
)
def test_what_is_worth_telling(told, notable):
    assert is_notable(told.entry) is notable


@pytest.mark.parametrize(
    ("told", "title"),
    [
        (row("release.succeeded"), "m 1.1.0 is champion"),
        (row("release.paused"), "m 1.1.0 is paused and asks a person"),
        (
            row("release.rollback", to="1.0.0", **{"from": "1.1.0"}),
            "m 1.0.0 took over again from 1.1.0 in an emergency rollback",
        ),
        (
            row("release.withdrawn", to="1.0.0", **{"from": "1.1.0"}),
            "m 1.1.0 lost its share in an emergency rollback, 1.0.0 stays champion",
        ),
        (row("monitor.level", to="retrain"), "m raises a drift alarm"),
    ],
)
def test_titles(told, title):
    assert compose(told, None, LINKS).title == title


def test_body_tells_why_the_evidence_worst_first_and_where_to_look():
    rules = [
        {"rule": name, "verdict": verdict, "observed": "o", "needed": "n"}
        for name, verdict in [("latency", "PASS"), ("error_rate", "FAIL"), ("accuracy", "UNSURE")]
    ]
    told = row("release.rolled_back", why="error_rate: 9 %", evidence=rules)
    assert compose(told, None, LINKS).body.splitlines() == [
        "m 1.1.0 was rolled back.",
        "Why: error_rate: 9 %",
        "Evidence:",
        "  FAIL error_rate: o (needed: n)",
        "  UNSURE accuracy: o (needed: n)",
        "  PASS latency: o (needed: n)",
        "",
        "MLflow: http://m:5050/#/models/m",
        "Airflow: http://a:8080/dags/release_m",
        "Here: perennial release status m",
        "Entry 1 of the ledger, 2026-01-05 08:00:00 UTC, by machine, digest dddddddddddd.",
    ]
    many = compose(row("release.rolled_back", evidence=rules * 9), None, LINKS).body
    assert f"and {27 - EVIDENCE} more" in many


def test_drift_alarm_tells_what_moved():
    told = row(
        "monitor.level", to="retrain", reasons=["3 features moved"], psi={"a": [0.1, 0.05], "b": [0.4, 0.05]}
    )
    body = compose(told, None, LINKS).body
    assert "Why: 3 features moved\n  PSI b: 0.4 (allowance 0.05)\n  PSI a: 0.1 (allowance 0.05)" in body
    assert "http://a:8080/dags/monitor_m" in body


def test_a_withheld_retraining_tells_why_and_where_to_look():
    notice = compose(
        row("retrain.withheld", actor="monitor", why="2 features moved; mend what sends them"), None, LINKS
    )
    assert notice.title == "m raises an alarm that a retraining would not help"
    assert "Why: 2 features moved; mend what sends them" in notice.body
    assert "http://a:8080/dags/monitor_m" in notice.body
    assert "perennial retrain status m" in notice.body
    labels = compose(row("retrain.withheld", actor="monitor", why="5 labels", reason="labels"), None, LINKS)
    assert labels.title == "m has enough new labels, but a retraining would not help"


def test_retries_come_later_each_time_but_often_enough_within_a_day():
    at, now, tries = Delivery(channel="c", seq=0), NOW, 0
    while now - NOW < GIVE_UP:
        at, tries = at.failed("down", now), tries + 1
        assert timedelta(0) < at.retry_at - now <= LONGEST_WAIT
        now = at.retry_at
    assert 100 < tries < 200
    assert (at.delivered(7, now).attempts, at.delivered(7, now).error) == (0, "")
