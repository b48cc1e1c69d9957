"""Who asked for a run: what the ledger or the training DAG vouches for, and nothing that an event only says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from perennial.core.approval import people
from perennial.errors import NotAllowed
from perennial.orchestration.asked import candidate, folder, of_training

NOW = datetime(2026, 1, 5, tzinfo=UTC)
LEDGER = {"k1": "ann", "k2": "monitor"}
FORM = {"reason": "person", "text": "try", "version": "candidate"}


def run(kind: str = "manual", user: str | None = "olga") -> SimpleNamespace:
    return SimpleNamespace(run_type=kind, triggering_user_name=user)


def events(*extras: dict, dag: str | None = None) -> dict:
    found = [
        SimpleNamespace(extra=extra, timestamp=NOW + timedelta(seconds=number), source_dag_id=dag)
        for number, extra in enumerate(extras)
    ]
    return {"the asset": list(reversed(found))}


def request(key: str, who: str, reason: str = "drift") -> dict:
    return {"key": key, "who": who, "reason": reason, "text": f"{who} says", "from_rest_api": True}


def test_a_person_in_the_form_and_the_schedule():
    assert of_training(run(), FORM, {}, LEDGER.get) == ("olga", "person", "try")
    assert of_training(run("scheduled"), FORM, None, LEDGER.get)[:2] == ("schedule", "schedule")
    assert of_training(run(user=None), FORM, {}, LEDGER.get).who == "airflow"


def test_a_request_is_of_whom_the_ledger_says():
    asked = of_training(run(), FORM, events(request("k1", "nobody")), LEDGER.get)
    assert asked == ("ann", "drift", "nobody says")


def test_everybody_who_asked_for_the_same_run_asked():
    """A drift alarm after a person's request takes her name from nothing."""
    both = events(request("k1", "ann", "person"), request("k2", "monitor"))
    asked = of_training(run(), FORM, both, LEDGER.get)
    assert asked == ("ann,monitor", "drift", "monitor says")
    assert people([asked.who]) == ("ann",)


def test_an_event_that_anybody_raised_trains_nothing():
    with pytest.raises(NotAllowed, match="ledger has no such request"):
        of_training(run(), FORM, events(request("made up", "ann")), LEDGER.get)
    mixed = events(request("k1", "ann"), request("made up", "olga", "person"))
    assert of_training(run(), FORM, mixed, LEDGER.get) == ("ann", "drift", "ann says")


def test_the_newest_candidate_that_the_training_offered():
    offered = events(
        {"version": "1.1.0", "who": "ann"}, {"version": "1.2.0", "who": "bob,monitor"}, dag="train_m"
    )
    assert candidate(run(), FORM, offered, "train_m") == ("1.2.0", "bob,monitor")
    assert candidate(run(), FORM, {}, "train_m") == ("candidate", "olga")


@pytest.mark.parametrize(
    ("extra", "dag"),
    [({"from_rest_api": True}, "train_m"), ({}, "train_other"), ({"from_rest_api": True}, None)],
)
def test_a_candidate_that_anybody_offered_is_not_released(extra, dag):
    with pytest.raises(NotAllowed, match="not offered by train_m"):
        candidate(run(), FORM, events({"version": "1.1.0", "who": "monitor", **extra}, dag=dag), "train_m")


def test_a_run_may_be_called_anything():
    assert folder("/s", "m", "../../$(id)").removeprefix("/s/m/").isalnum()
