"""Who asked for a run: what the ledger or the training DAG vouches for, and nothing that an event only says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace

import pytest

from perennial import settings as environment
from perennial.core.events import Entry, Event
from perennial.core.release.approval import people
from perennial.errors import NotAllowed
from perennial.orchestration.trigger_provenance import (
    changed_entry,
    folder,
    offered_candidate,
    recorded_changes,
    recorded_request,
    training_provenance,
)
from perennial.wiring import database

NOW = datetime(2026, 1, 5, tzinfo=UTC)


def request(who: str, key: str, reason: str = "drift") -> dict:
    return {"key": key, "who": who, "reason": reason, "text": f"{who} says", "from_rest_api": True}


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    """Two requests on record; how a run asks for them."""
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path))
    store = database.store(environment.load())
    for who, key, reason in (("ann", "k1", "person"), ("monitor", "k2", "drift")):
        told = request(who, key, reason)
        store.ledger.append(Entry(at=NOW, actor=who, kind=Event.RETRAIN_REQUESTED, model="m", payload=told))
    return partial(recorded_request, "m")


def nobody(dag: str, since: datetime) -> tuple[str, ...]:
    """Accounts that changed runs of a DAG: none."""
    return ()


FORM = {"reason": "person", "text": "try", "version": "candidate"}


def run(kind: str = "manual", user: str | None = "olga", run_id: str = "first") -> SimpleNamespace:
    return SimpleNamespace(
        dag_id="train_m", run_id=run_id, run_after=NOW, run_type=kind, triggering_user_name=user
    )


def events(*extras: dict, dag: str | None = None) -> dict:
    found = [
        SimpleNamespace(extra=extra, timestamp=NOW + timedelta(seconds=number), source_dag_id=dag)
        for number, extra in enumerate(extras)
    ]
    return {"the asset": list(reversed(found))}


def test_a_person_in_the_form_and_the_schedule(ledger):
    assert training_provenance(run(), FORM, {}, ledger, nobody) == ("olga", "person", "try")
    assert training_provenance(run("scheduled"), FORM, None, ledger, nobody)[:2] == ("schedule", "schedule")
    assert training_provenance(run(user=None), FORM, {}, ledger, nobody).who == "airflow"


def test_a_request_is_what_the_ledger_says_not_what_the_event_says(ledger):
    told = events(request("nobody", "k1", "schedule"))
    assert training_provenance(run(), FORM, told, ledger, nobody) == ("ann", "person", "ann says")


def test_everybody_who_asked_for_the_same_run_asked(ledger):
    """A drift alarm after a person's request takes her name from nothing."""
    asked = training_provenance(run(), FORM, events({"key": "k1"}, {"key": "k2"}), ledger, nobody)
    assert asked == ("ann,monitor", "drift", "monitor says")
    assert people([asked.who]) == ("ann",)


def test_an_event_that_anybody_raised_trains_nothing(ledger):
    with pytest.raises(NotAllowed, match="ledger has no such request"):
        training_provenance(run(), FORM, events(request("ann", "made up")), ledger, nobody)
    mixed = events({"key": "k1"}, request("olga", "made up", "person"))
    assert training_provenance(run(), FORM, mixed, ledger, nobody) == ("ann", "person", "ann says")


def test_a_request_is_answered_by_one_run(ledger):
    """Whoever may read events could raise the monitor's once more, and approve what that training makes."""
    told = events(request("monitor", "k2"))
    for _ in range(2):  # each task of a run asks again
        assert training_provenance(run(), FORM, told, ledger, nobody).who == "monitor"
    with pytest.raises(NotAllowed, match="another run answered it"):
        training_provenance(run(run_id="second"), FORM, told, ledger, nobody)
    mixed = events(request("monitor", "k2"), request("ann", "k1"))
    assert training_provenance(run(run_id="third"), FORM, mixed, ledger, nobody).who == "ann"
    assert training_provenance(run(), FORM, told, ledger, nobody).who == "monitor"


def test_a_change_between_request_and_run_counts(ledger):
    """Its first run may have been deleted: the one that answers it is due later."""
    changed_at = []
    late = run()
    late.run_after = NOW + timedelta(minutes=4)
    training_provenance(
        late, FORM, events({"key": "k2"}), ledger, lambda dag, since: changed_at.append(since) or ()
    )
    assert changed_at == [NOW - timedelta(minutes=1)]


@pytest.mark.parametrize("body", ["TriggerDAGRunPostBody", "MaterializeAssetBody"])
def test_airflow_starts_no_run_that_is_due_later(monkeypatch, body):
    """Its tasks could be edited before it is due, and nobody would count as the one who did."""
    from airflow.api_fastapi.core_api.datamodels import assets, dag_run
    from fastapi import HTTPException

    from perennial.orchestration.auth_manager import refuse_later_runs

    kind = getattr(assets if body.startswith("Mat") else dag_run, body)
    base = dag_run.TriggerDAGRunPostBody
    monkeypatch.setattr(base, "validate_context", base.validate_context)  # put back afterwards
    refuse_later_runs()
    dag = SimpleNamespace(timetable=SimpleNamespace(generate_run_id=lambda **more: "run"))
    later = datetime.now(UTC) + timedelta(seconds=75)
    for due in (later, later.replace(tzinfo=None)):
        with pytest.raises(HTTPException, match="future"):
            kind(logical_date=None, run_after=due).validate_context(dag)
    for due in ({}, {"run_after": None}, {"run_after": NOW}):
        assert kind(logical_date=None, **due).validate_context(dag)["run_id"] == "run"


@pytest.mark.slow
def test_a_key_that_was_read_in_the_ledger_opens_nothing_later(ledger):
    late = events(*([{}] * 600), request("monitor", "k2"))
    with pytest.raises(NotAllowed):
        training_provenance(run(), FORM, late, ledger, nobody)


def test_the_newest_candidate_that_the_training_offered():
    offered = events(
        {"version": "1.1.0", "who": "ann"}, {"version": "1.2.0", "who": "bob,monitor"}, dag="train_m"
    )
    assert offered_candidate(run(), FORM, offered, "train_m", nobody) == ("1.2.0", "bob,monitor")
    assert offered_candidate(run(), FORM, {}, "train_m", nobody) == ("candidate", "olga")


@pytest.mark.parametrize(
    ("extra", "dag"),
    [({"from_rest_api": True}, "train_m"), ({}, "train_other"), ({"from_rest_api": True}, None)],
)
def test_a_candidate_that_anybody_offered_is_not_released(extra, dag):
    with pytest.raises(NotAllowed, match="not offered by train_m"):
        offered_candidate(
            run(), FORM, events({"version": "1.1.0", "who": "monitor", **extra}, dag=dag), "train_m", nobody
        )


def test_a_run_may_be_called_anything():
    assert folder("/s", "m", "../../$(id)").removeprefix("/s/m/").isalnum()


def test_who_clears_or_edits_a_run_asked_for_it_too(ledger):
    book = database.store(environment.load()).ledger
    for name, dag, minutes in (
        ("early", "train_m", -9),
        ("ann", "train_m", 9),
        ("bea", "~", 9),
        ("carl", "train_x", 9),
    ):
        book.append(changed_entry(name, dag, NOW + timedelta(minutes=minutes)))
    assert training_provenance(run("scheduled"), FORM, {}, ledger, recorded_changes).who == "schedule,ann,bea"
    assert training_provenance(run(), FORM, {}, ledger, recorded_changes).who == "olga,ann,bea"
    told = events(request("monitor", "k2"))
    assert training_provenance(run(), FORM, told, ledger, recorded_changes).who == "monitor,ann,bea"
    offered = events({"version": "1.1.0", "who": "monitor"}, dag="train_m")
    assert offered_candidate(run(), FORM, offered, "train_m", recorded_changes)[1] == "monitor,ann,bea"


@pytest.fixture
def asks(monkeypatch, tmp_path):
    """Whether Airflow lets an account do something: the role `op`, `admin` or `viewer`."""
    from airflow.api_fastapi.auth.managers.models.resource_details import DagDetails
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    from perennial.orchestration.auth_manager import GuardedAuthManager

    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path))
    monkeypatch.setattr(GuardedAuthManager, "_noted", {})
    manager = object.__new__(GuardedAuthManager)

    def ask(name: str, role: str, method: str, entity: object = None, thing: str = "dag") -> bool:
        account = SimpleAuthManagerUser(username=name, role=role)
        more = {"access_entity": entity, "details": DagDetails(id="train_m")} if thing == "dag" else {}
        return getattr(manager, f"is_authorized_{thing}")(method=method, user=account, **more)

    return ask


def test_the_api_records_who_changes_runs_but_not_who_answers(asks):
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity

    assert asks("ann", "op", "PUT", DagAccessEntity.HITL_DETAIL)
    assert asks("ben", "op", "GET", DagAccessEntity.RUN)
    assert not asks("vic", "viewer", "PUT", DagAccessEntity.RUN)
    assert recorded_changes("train_m", NOW) == ()
    for _ in range(50):
        assert asks("carl", "op", "PUT", DagAccessEntity.TASK_INSTANCE)
    assert asks("dora", "op", "DELETE", DagAccessEntity.RUN)
    assert recorded_changes("train_m", NOW) == ("carl", "dora")
    assert len(database.store(environment.load()).ledger.rows(kinds=(Event.DAG_RUN_CHANGED,))) == 2


def test_a_paused_dag_is_recorded_and_only_an_admin_deletes_one(asks):
    assert asks("ann", "op", "GET")
    assert asks("olga", "op", "PUT")
    assert not asks("olga", "op", "DELETE")
    assert asks("adam", "admin", "DELETE")
    assert recorded_changes("train_m", NOW) == ("olga", "adam")


@pytest.mark.parametrize("thing", ["asset", "pool", "variable", "connection"])
def test_what_nobody_needs_to_write_is_written_by_admins_only_and_recorded(asks, thing):
    assert asks("olga", "op", "GET", thing=thing)
    for method in ("POST", "PUT", "DELETE"):
        assert not asks("olga", "op", method, thing=thing)
    for _ in range(3):
        assert asks("perennial", "admin", "POST", thing=thing)  # our own account raises asset events
    rows = database.store(environment.load()).ledger.rows(kinds=(Event.AIRFLOW_CHANGED,))
    assert [(row.entry.actor, row.entry.payload["thing"]) for row in rows] == [("perennial", thing)]
