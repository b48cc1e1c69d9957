"""When an alarm is obeyed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from perennial.core.assets import Reason, candidate_asset, retrain_asset
from perennial.core.events import Entry, Event
from perennial.core.governance.ledger import chain
from perennial.core.monitoring.levels import Cause, Level, MonitorVerdict
from perennial.core.monitoring.retraining import (
    ASK_AGAIN,
    Hold,
    JudgedWindow,
    Retrain,
    RetrainingRequest,
    decide_retrain,
    retraining_event,
    retraining_requests,
)
from perennial.core.monitoring_spec import RetrainingSpec

NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
SPEC = RetrainingSpec(schedule="0 3 * * 1", cooldown=timedelta(hours=24), max_alarms_per_week=3)


def alarm(*causes: Cause) -> MonitorVerdict:
    texts = tuple(cause.text for cause in causes)
    return MonitorVerdict(level=Level.RETRAIN, causes=causes, reasons=texts, rows=1500)


ALARM = alarm(Cause(reason=Reason.ACCURACY, text="lost 12 %"))


def decide(*past: RetrainingRequest, told: MonitorVerdict = ALARM):
    return decide_retrain(SPEC, told, JudgedWindow(key="w9", digest="d1"), past, NOW)


def asked(digest: str = "d1", reason: Reason = Reason.ACCURACY, days: float = 6) -> RetrainingRequest:
    """An alarm of a champion that the cooldown has forgotten."""
    return RetrainingRequest(at=NOW - timedelta(days=days), reason=reason, window="w1", digest=digest)


def ago(hours: float, reason: Reason = Reason.ACCURACY, window: str | None = None) -> RetrainingRequest:
    return RetrainingRequest(at=NOW - timedelta(hours=hours), reason=reason, window=window)


def test_the_first_alarm_is_obeyed_and_keeps_its_reason():
    assert decide() == Retrain(reason=Reason.ACCURACY, text="lost 12 %")


@pytest.mark.parametrize("level", [Level.UNSURE, Level.OK, Level.WATCH, Level.WARN])
def test_lower_levels_ask_for_nothing(level):
    assert isinstance(decide(told=ALARM.model_copy(update={"level": level, "causes": ()})), Hold)


@pytest.mark.parametrize("reason", list(Reason))
def test_cooldown_after_any_request(reason):
    assert "quiet until" in decide(ago(23, reason)).why
    assert isinstance(decide(ago(25, reason)), Retrain)


def test_a_request_from_a_clock_ahead_of_ours_still_cools_down():
    assert isinstance(decide(ago(-1)), Hold)


def test_a_week_has_a_limit_of_alarms():
    week = [ago(24 * days) for days in (2, 4, 6)]
    assert "3 alarms within a week" in decide(*week).why
    assert isinstance(decide(ago(24 * 8), *week[:2]), Retrain)


def test_people_and_the_schedule_spend_nothing_of_the_limit():
    past = [ago(24 * days, Reason.PERSON) for days in (2, 3, 4)] + [ago(24 * 5, Reason.SCHEDULE)]
    assert isinstance(decide(*past), Retrain)


def test_never_twice_for_one_window():
    assert "this window" in decide(ago(240, window="w9")).why
    assert isinstance(decide(ago(240, window="w8")), Retrain)


def test_an_alarm_that_lasts_asks_once_and_that_of_a_new_champion_again():
    assert "same alarm" in decide(asked()).why
    assert isinstance(decide(asked(digest="d0")), Retrain)
    assert isinstance(decide(asked(reason=Reason.PERSON)), Retrain)
    assert isinstance(decide(asked(reason=Reason.DRIFT)), Retrain), "of a monitor whose drifts still asked"


def test_an_alarm_that_lasts_asks_again_after_a_week():
    """Its training may have failed, or a rollback has brought its champion back."""
    week = ASK_AGAIN / timedelta(days=1)
    assert "next after 2025-06-01 13:00:00 UTC" in decide(asked(days=week - 1 / 24)).why
    assert isinstance(decide(asked(days=week)), Retrain)


def test_requests_come_back_out_of_the_ledger():
    extra = retraining_event(
        Reason.ACCURACY, "lost 12 %", who="monitor", key="k", digest="d" * 64, window="w1", moved={"b", "a"}
    )
    entries = [
        Entry(at=NOW, actor="policy", kind="release.canary", model="m", payload={}),
        Entry(
            at=NOW, actor="monitor", kind=Event.RETRAIN_REQUESTED, model="m", digest="d" * 64, payload=extra
        ),
    ]
    rows = [chain(entry, number, "0" * 64) for number, entry in enumerate(entries, start=1)]
    (request,) = retraining_requests(rows)
    assert request == RetrainingRequest(
        at=NOW, reason=Reason.ACCURACY, window="w1", digest="d" * 64, moved=frozenset("ab")
    )


def test_asset_names_are_those_of_the_dags():
    from pathlib import Path

    text = (Path(__file__).resolve().parents[2] / "dags" / "train.py").read_text()
    assert retrain_asset("m") == "perennial/m/retrain"
    assert candidate_asset("m") == "perennial/m/candidate"
    assert "retrain_asset(spec.name)" in text
    assert "candidate_asset(model)" in text
