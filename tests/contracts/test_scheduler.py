"""The same cases over the fake scheduler and over a real Airflow."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass

import pytest
from doubles.scheduler import MemoryScheduler

from perennial.adapters.airflow_trigger import AirflowTrigger
from perennial.errors import SchedulerUnavailable
from perennial.ports import Scheduler

ASSET, DAG = "perennial/m_1/retrain", "train_m_1"


@dataclass
class Subject:
    """A scheduler, and how to look behind it."""

    scheduler: Scheduler
    events: object

    def wait_events(self, count: int) -> list[dict]:
        deadline = time.monotonic() + 20
        while len(found := self.events()) < count and time.monotonic() < deadline:
            time.sleep(0.3)
        return found


@pytest.fixture(params=["memory", pytest.param("airflow", marks=pytest.mark.server)])
def subject(request):
    if request.param == "memory":
        fake = MemoryScheduler({ASSET: DAG, "perennial/mx1/retrain": "train_mx1"})
        return Subject(fake, lambda: [extra for name, extra in fake.events if name == ASSET])
    airflow = request.getfixturevalue("airflow")

    def events() -> list[dict]:
        # Airflow 3.2.2 answers 500 while a run that an event created has not started yet.
        answer = airflow.until(
            lambda: (
                (found := airflow.call("admin", "GET", "/api/v2/assets/events?limit=100")).is_success
                and found
            ),
            "its events",
        )
        return [event["extra"] for event in answer.json()["asset_events"] if event["name"] == ASSET]

    return Subject(trigger_of(airflow), events)


def trigger_of(airflow, user: str = "", password: str = "") -> AirflowTrigger:
    """Return the adapter signed in as `user`, else as the platform's own account."""
    user = user or airflow.settings.airflow_user
    return AirflowTrigger(airflow.settings.airflow_url, user, password or airflow.password(user))


def test_an_event_arrives_with_what_it_says(subject):
    before = len(subject.events())
    subject.scheduler.raise_event(ASSET, {"reason": "drift", "psi": {"x": 0.5}, "window": None})
    found = subject.wait_events(before + 1)
    assert len(found) == before + 1
    newest = next(one for one in found if one.get("psi") == {"x": 0.5})
    assert newest["reason"] == "drift"


@pytest.mark.parametrize("name", ["perennial/nobody/retrain", "perennial/m_/retrain", "perennial/m_1/retrai"])
def test_an_unknown_asset_is_an_error_and_nothing_else_moves(subject, name):
    before = len(subject.events())
    with pytest.raises(SchedulerUnavailable, match="asset") as caught:
        subject.scheduler.raise_event(name, {})
    assert "parsed" in caught.value.hint
    assert len(subject.events()) == before


def test_a_run_is_started_and_its_state_known(subject):
    run = subject.scheduler.trigger(DAG, {})
    assert subject.scheduler.state(DAG, run) in {"queued", "running", "success"}
    assert subject.scheduler.trigger(DAG, {}) != run


def test_unknown_dags_and_runs_are_errors(subject):
    with pytest.raises(SchedulerUnavailable):
        subject.scheduler.trigger("train_nobody", {})
    with pytest.raises(SchedulerUnavailable):
        subject.scheduler.state(DAG, "no such run")


@pytest.mark.server
def test_a_wrong_password_and_a_viewer_are_told(airflow):
    with pytest.raises(SchedulerUnavailable, match="401"):
        trigger_of(airflow, password="wrong").trigger(DAG, {})
    with pytest.raises(SchedulerUnavailable, match="403"):
        trigger_of(airflow, "vic").raise_event(ASSET, {})


@pytest.mark.server
def test_a_token_that_airflow_no_longer_takes_is_renewed(airflow):
    trigger = trigger_of(airflow)
    trigger._client.headers["Authorization"] = "Bearer of yesterday"
    assert trigger.trigger(DAG, {})


def test_airflow_that_is_down_is_told():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(SchedulerUnavailable, match="does not answer"):
            AirflowTrigger(url, "perennial", "of nobody").raise_event(ASSET, {})
