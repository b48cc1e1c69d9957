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


MOVED = Cause(reason=Reason.DRIFT, text="2 of 6 features moved")
LOST = Cause(reason=Reason.ACCURACY, text="lost 12 %")
ALARM, LOSS, BOTH = alarm(MOVED), alarm(LOST), alarm(MOVED, LOST)


def decide(*past: RetrainingRequest, told: MonitorVerdict = ALARM, moved: str = "ab", digest: str = "d1"):
    window = JudgedWindow(key="w9", digest=digest, moved=frozenset(moved), needed=2)
    return decide_retrain(SPEC, told, window, past, NOW)


def asked(
    moved: str, digest: str = "d1", reason: Reason = Reason.DRIFT, days: float = 6
) -> RetrainingRequest:
    """An alarm of a champion that the cooldown has forgotten."""
    return RetrainingRequest(
        at=NOW - timedelta(days=days), reason=reason, window="w1", digest=digest, moved=frozenset(moved)
    )


def ago(hours: float, reason: Reason = Reason.DRIFT, window: str | None = None) -> RetrainingRequest:
    return RetrainingRequest(at=NOW - timedelta(hours=hours), reason=reason, window=window)


def test_the_first_alarm_is_obeyed_and_keeps_its_reason():
    assert decide() == Retrain(reason=Reason.DRIFT, text="2 of 6 features moved")


@pytest.mark.parametrize("level", [Level.UNSURE, Level.OK, Level.WATCH, Level.WARN])
def test_lower_levels_ask_for_nothing(level):
    assert isinstance(decide(told=ALARM.model_copy(update={"level": level, "causes": ()})), Hold)


@pytest.mark.parametrize("reason", list(Reason))
def test_cooldown_after_any_request(reason):
    assert "quiet until" in decide(ago(23, reason)).why
    assert isinstance(decide(ago(25, reason)), Retrain)


def test_a_request_from_a_clock_ahead_of_ours_still_cools_down():
    assert isinstance(decide(ago(-1)), Hold)


def test_the_week_has_a_budget_of_alarms():
    week = [ago(24 * days) for days in (2, 4, 6)]
    assert "3 alarms within a week" in decide(*week).why
    assert isinstance(decide(ago(24 * 8), *week[:2]), Retrain)


def test_people_and_the_schedule_spend_nothing_of_the_budget():
    asked = [ago(24 * days, Reason.PERSON) for days in (2, 3, 4)] + [ago(24 * 5, Reason.SCHEDULE)]
    assert isinstance(decide(*asked), Retrain)


def test_never_twice_for_one_window():
    assert "this window" in decide(ago(240, window="w9")).why
    assert isinstance(decide(ago(240, window="w8")), Retrain)


def test_a_drift_that_lasts_asks_once():
    """A handful of requests makes another window of it, and would spend the budget of the week."""
    assert "a drift of this champion asked" in decide(asked("ab")).why
    assert "now 1" in decide(asked("ab"), moved="abc").why
    assert "now 0" in decide(asked("ab"), asked("cd"), moved="bc").why


def test_newly_moved_features_and_a_new_champion_ask_again():
    assert isinstance(decide(asked("ab"), moved="abcd"), Retrain)
    assert isinstance(decide(asked("ab", digest="d0")), Retrain)


def test_an_accuracy_alarm_that_lasts_asks_once_and_a_drift_is_another_alarm():
    assert isinstance(decide(asked("ab"), told=LOSS), Retrain)
    assert "same alarm" in decide(asked("", reason=Reason.ACCURACY), told=LOSS).why
    assert isinstance(decide(asked("", reason=Reason.ACCURACY)), Retrain)
    assert isinstance(decide(asked("ab", reason=Reason.PERSON)), Retrain)


def test_a_lasting_drift_silences_no_new_loss_of_accuracy():
    assert decide(told=BOTH) == Retrain(reason=Reason.DRIFT, text="2 of 6 features moved")
    assert decide(asked("ab"), told=BOTH) == Retrain(reason=Reason.ACCURACY, text="lost 12 %")
    why = decide(asked("ab"), asked("", reason=Reason.ACCURACY), told=BOTH).why
    assert "a drift of this champion asked" in why
    assert "the same alarm of this champion asked" in why


@pytest.mark.parametrize(("reason", "told"), [(Reason.DRIFT, ALARM), (Reason.ACCURACY, LOSS)])
def test_a_finding_that_lasts_asks_again_after_a_week(reason, told):
    """Its training may have failed, or a rollback has brought its champion back."""
    week = ASK_AGAIN / timedelta(days=1)
    assert (
        "next after 2025-06-01 13:00:00 UTC"
        in decide(asked("ab", reason=reason, days=week - 1 / 24), told=told).why
    )
    assert decide(asked("ab", reason=reason, days=week), told=told).reason is reason


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
