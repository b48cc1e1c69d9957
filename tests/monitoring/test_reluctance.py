"""What retrainings led to, and how those that brought nothing make the next one wait."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from doubles.releases import MemoryLedger, MemoryStore

from perennial.cli import main
from perennial.core.events import Entry, Event
from perennial.core.monitoring.worth.reluctance import (
    Outcome,
    cooldown,
    fruitless_in_a_row,
    quiet_until,
    reluctant,
    retrainings,
    why_longer,
)
from perennial.core.monitoring_spec import ReluctanceSpec, RetrainingSpec

NOW = datetime(2026, 3, 2, tzinfo=UTC)
DAY = timedelta(days=1)
SPEC = RetrainingSpec(schedule="0 3 * * 1", cooldown=DAY, max_alarms_per_week=3)
ASKED, OPENED, REJECTED = Event.RETRAIN_REQUESTED, Event.RELEASE_OPENED, Event.RELEASE_REJECTED
ROLLED_BACK, EFFECT, SUPERSEDED = Event.RELEASE_ROLLED_BACK, Event.RETRAIN_EFFECT, Event.RELEASE_SUPERSEDED


def past(*facts: tuple[Event, str]):
    """`facts`: kind and release id; the id of an effect ends with its verdict."""
    ledger = MemoryLedger()
    for place, (kind, release) in enumerate(facts):
        release, _, verdict = release.partition(":")
        payload = {"reason": "drift", "text": "moved"} if kind is ASKED else {"version": "1", "against": "0"}
        ledger.append(
            Entry(
                at=NOW + place * DAY, actor="monitor", kind=kind, model="m", release_id=release or None,
                payload=payload | ({"verdict": verdict} if verdict else {}),
            )
        )  # fmt: skip
    return retrainings(ledger.rows())


FRUITLESS = ((ASKED, ""), (OPENED, "r1"), (REJECTED, "r1"))
HELPED = ((ASKED, ""), (OPENED, "r2"), (EFFECT, "r2:helped"))


@pytest.mark.parametrize(
    ("facts", "count"),
    [
        ((), 0),
        (((OPENED, "r0"), (REJECTED, "r0")), 0),
        (FRUITLESS, 1),
        (((ASKED, ""), (OPENED, "r1"), (ROLLED_BACK, "r1")), 1),
        (((ASKED, ""), (OPENED, "r1"), (EFFECT, "r1:no gain proven")), 1),
        (((ASKED, ""), (OPENED, "r1"), (EFFECT, "r1:harmed")), 1),
        (((ASKED, ""), (OPENED, "r1"), (EFFECT, "r1:not enough labels")), 0),
        (((ASKED, ""), (OPENED, "r1"), (SUPERSEDED, "r1")), 0),
        (((ASKED, ""),), 0),
        (((ASKED, ""), *FRUITLESS), 1),
        ((*FRUITLESS, *FRUITLESS), 2),
        ((*FRUITLESS, *HELPED), 0),
        ((*HELPED, *FRUITLESS), 1),
        ((*FRUITLESS, (ASKED, ""), (OPENED, "r3")), 1),
        (((ASKED, ""), (OPENED, "r1"), (ASKED, ""), (OPENED, "r2"), (EFFECT, "r1:harmed"), (EFFECT, "r2:helped")), 0),
        (((ASKED, ""), (OPENED, "r1"), (ASKED, ""), (OPENED, "r2"), (EFFECT, "r1:helped"), (REJECTED, "r2")), 1),
        (((ASKED, ""), (OPENED, "r1"), (REJECTED, "r1"), (OPENED, "r2"), (EFFECT, "r2:helped")), 0),
    ],
)  # fmt: skip
def test_fruitless_retrainings_since_one_that_helped(facts, count):
    assert fruitless_in_a_row(past(*facts)) == count


def test_the_outcome_says_why():
    known = past(*FRUITLESS, *HELPED, (ASKED, ""))
    assert [one.outcome for one in known] == [Outcome.FRUITLESS, Outcome.HELPED, Outcome.OPEN]
    assert (known[0].why, known[0].release_id) == ("its release was rejected", "r1")


def test_the_cooldown_doubles_up_to_a_bound():
    days = [cooldown(SPEC, count) / DAY for count in range(8)]
    assert days == [1, 2, 4, 8, 16, 30, 30, 30]
    assert cooldown(SPEC, 10**6) == 30 * DAY
    assert reluctant(SPEC, 3).cooldown == 8 * DAY
    assert quiet_until(SPEC, past(*FRUITLESS)) == NOW + 2 * DAY
    assert quiet_until(SPEC, []) is None
    assert why_longer(SPEC, 0) == ""
    assert "2 retrainings brought nothing" in why_longer(SPEC, 2)


def test_a_cooldown_beyond_the_bound_and_a_factor_of_one_stay():
    long = SPEC.model_copy(update={"cooldown": 60 * DAY})
    assert cooldown(long, 3) == 60 * DAY
    same = SPEC.model_copy(update={"reluctance": ReluctanceSpec(factor=1.0)})
    assert cooldown(same, 9) == DAY


def test_specs_without_the_keys_keep_their_digest():
    assert set(SPEC.model_dump()) == {"schedule", "cooldown", "max_alarms_per_week"}


def test_command(monkeypatch, capsys):
    store = MemoryStore()
    monkeypatch.setattr("perennial.wiring.database.store", lambda settings: store)
    model = "test_failure_predictor"
    assert main(["retrain", "status", model]) == 0
    assert "nobody has requested" in capsys.readouterr().out
    for kind, release in (*FRUITLESS, *FRUITLESS):
        entry = Entry(at=NOW, actor="monitor", kind=kind, model=model, release_id=release or None)
        store.ledger.append(
            entry.model_copy(update={"payload": {"reason": "drift", "text": "2 features moved"}})
        )
    assert main(["retrain", "status", model]) == 0
    told = capsys.readouterr().out
    assert "2 features moved" in told
    assert "brought nothing, so the cooldown is" in told
    assert main(["retrain", "status", model, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["fruitless_in_a_row"] == 2
