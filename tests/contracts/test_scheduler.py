"""The same cases over the fake scheduler and over a real Airflow."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from doubles.scheduler import MemoryScheduler

from perennial.adapters.airflow_trigger import AirflowTrigger
from perennial.errors import SchedulerUnavailable
from perennial.ports import Scheduler

ASSET, DAG, USER, PASSWORD = "perennial/m_1/retrain", "train_m_1", "perennial", "of the test"
DAG_FILE = """
from airflow.sdk import DAG, Asset
from airflow.providers.standard.operators.empty import EmptyOperator

for name in ("m_1", "mx1"):  # the second differs where SQL's LIKE sees no difference
    asset = Asset(name=f"perennial/{name}/retrain", uri=f"perennial://{name}/retrain")
    with DAG(f"train_{name}", schedule=[asset]) as dag:
        EmptyOperator(task_id="nothing")
    globals()[dag.dag_id] = dag
"""


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


def airflow_environment(home: Path, port: int) -> dict[str, str]:
    own = {
        "AIRFLOW_HOME": home,
        "AIRFLOW__CORE__DAGS_FOLDER": home / "dags",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "false",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin,reader:viewer",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": home / "passwords.json",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": port,
        "AIRFLOW__API__SECRET_KEY": "secret of the test",
        "AIRFLOW__API_AUTH__JWT_SECRET": "a secret of the test that is long enough for the signature",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "false",
    }
    return {**os.environ, **{name: str(value) for name, value in own.items()}}


@pytest.fixture(scope="module")
def airflow(tmp_path_factory):
    """API server and DAG processor: what raising events needs; runs stay queued without a scheduler."""
    home = tmp_path_factory.mktemp("airflow")
    (home / "dags").mkdir()
    (home / "dags" / "train.py").write_text(DAG_FILE)
    (home / "passwords.json").write_text(json.dumps({USER: PASSWORD, "reader": "r"}))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    env = airflow_environment(home, port)
    airflow = [sys.executable, "-m", "airflow"]
    subprocess.run([*airflow, "db", "migrate"], env=env, check=True, capture_output=True)
    processes = []
    try:
        for part in (["api-server", "--workers", "1"], ["dag-processor"]):
            log = (home / f"{part[0]}.out").open("w")
            started = subprocess.Popen(
                [*airflow, *part], env=env, stdout=log, stderr=log, start_new_session=True
            )
            processes.append(started)
        url = f"http://127.0.0.1:{port}"
        wait_parsed(url, processes, home)
        yield url
    finally:
        for process in processes:
            os.killpg(process.pid, 15)
        for process in processes:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait()


def wait_parsed(url: str, processes: list[subprocess.Popen], home: Path) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        assert all(process.poll() is None for process in processes), (home / "api-server.out").read_text()
        try:
            if {DAG, "train_mx1"} <= {one["dag_id"] for one in get(url, "/api/v2/dags")["dags"]}:
                return
        except (httpx.HTTPError, KeyError):
            pass
        time.sleep(0.5)
    pytest.fail(f"Airflow lists no DAG: {(home / 'dag-processor.out').read_text()[-2000:]}")


def get(url: str, path: str) -> dict:
    account = {"username": USER, "password": PASSWORD}
    token = httpx.post(f"{url}/auth/token", json=account, timeout=30).json()["access_token"]
    return httpx.get(f"{url}{path}", headers={"Authorization": f"Bearer {token}"}, timeout=30).json()


@pytest.fixture(params=["memory", pytest.param("airflow", marks=pytest.mark.server)])
def subject(request):
    if request.param == "memory":
        fake = MemoryScheduler({ASSET: DAG, "perennial/mx1/retrain": "train_mx1"})
        return Subject(fake, lambda: [extra for name, extra in fake.events if name == ASSET])
    url = request.getfixturevalue("airflow")

    def events() -> list[dict]:
        found = get(url, "/api/v2/assets/events?limit=100")["asset_events"]
        return [one["extra"] for one in found if one["name"] == ASSET]

    return Subject(AirflowTrigger(url, USER, PASSWORD), events)


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
        AirflowTrigger(airflow, USER, "wrong").trigger(DAG, {})
    with pytest.raises(SchedulerUnavailable, match="403"):
        AirflowTrigger(airflow, "reader", "r").raise_event(ASSET, {})


@pytest.mark.server
def test_a_token_that_airflow_no_longer_takes_is_renewed(airflow):
    trigger = AirflowTrigger(airflow, USER, PASSWORD)
    trigger._client.headers["Authorization"] = "Bearer of yesterday"
    assert trigger.trigger(DAG, {})


def test_airflow_that_is_down_is_told():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(SchedulerUnavailable, match="does not answer"):
            AirflowTrigger(url, USER, PASSWORD).raise_event(ASSET, {})
