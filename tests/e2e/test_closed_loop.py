"""The closed loop with every process real, then a release under fire, answered in a real page."""

from __future__ import annotations

import os
import signal
import threading
import time

import httpx
import pytest
from playwright.sync_api import sync_playwright

from perennial import account_file
from perennial.core.release.phase import Phase
from perennial.demo.airflow_watch import AirflowWatch
from perennial.local import supervisord
from perennial.settings import Settings
from perennial.wiring import database, monitoring, releasing, versions

from .conftest import MODEL, make_stack, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]
APPROVER = "approver"
"""The account with that role in an installation that names no people."""


def test_the_second_version_is_champion_and_no_request_failed(stack, report):
    assert report["champion"] == "1.1.0"
    assert report["failed_requests"] == 0
    assert report["requests"] > 1000
    assert (stack.settings.reports / "demo" / "loop.png").stat().st_size > 10_000


def test_the_traffic_grew_in_the_steps_of_the_policy(report):
    steps = {one["step"]: one for one in report["steps"] if one["version"] == "1.1.0"}
    for name, weight in (("CANARY 5 %", 0.05), ("CANARY 20 %", 0.20), ("CANARY 50 %", 0.50)):
        counted = steps[name]["canary_requests"] + steps[name]["stable_requests"]
        deviation = (counted * weight * (1 - weight)) ** 0.5
        assert abs(steps[name]["canary_requests"] - counted * weight) < 4 * deviation + 3, steps[name]


def test_the_reason_stands_on_run_version_and_ledger(stack):
    record = versions.registry(stack.settings).find(MODEL, "champion")
    assert record.tags["reason"] in ("drift", "accuracy")
    rows = database.store(stack.settings).ledger.rows(MODEL)
    assert "retrain.requested" in [row.entry.kind for row in rows]
    assert "the chain holds" in stack.run("ledger", "verify")


def airflow_of(settings: Settings) -> AirflowWatch:
    return AirflowWatch(settings.airflow_url, settings.airflow_user, monitoring.airflow_password(settings))


def test_airflow_lists_every_dag_without_import_errors(stack):
    airflow = airflow_of(stack.settings)
    airflow.wait_parsed([f"{kind}_{MODEL}" for kind in ("train", "release", "monitor", "maintain")], 5)
    assert airflow.get("/api/v2/importErrors")["import_errors"] == []


def test_nothing_was_trained_that_nobody_asked_for(stack):
    """A fresh installation must not make up for a schedule that it has missed."""
    airflow = airflow_of(stack.settings)
    assert [run["run_type"] for run in airflow.runs(f"train_{MODEL}")] == ["asset_triggered", "manual"]


class Load:
    """Clients that ask all the time and count what they got."""

    def __init__(self, stack, entity: dict) -> None:
        self.url = f"{stack.settings.envoy_url}/v1/models/{MODEL}/predict"
        self.body = {
            "entities": [entity],
            "context": {"cycle_size": 40, "requested_at": time.time()},
            "allow_unknown": True,
        }
        self.sent, self.failures = 0, []
        self.closed = threading.Event()
        self.threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(3)]

    def __enter__(self) -> Load:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.closed.set()
        for thread in self.threads:
            thread.join(timeout=30)

    def _ask(self) -> None:
        with httpx.Client(timeout=20) as client:
            while not self.closed.wait(0.05):
                try:
                    answer = client.post(self.url, json=self.body)
                    problem = (
                        None if answer.status_code == 200 else f"{answer.status_code} {answer.text[:200]}"
                    )
                except httpx.HTTPError as error:
                    problem = repr(error)
                self.sent += 1
                if problem:
                    self.failures.append(problem)


def approve_in_mlflow(chromium: str, settings: Settings, key: str) -> None:
    """What a person does on the version's page: the tag `approval` says waiting; the pencil, a word, Save."""
    account = {"username": APPROVER, "password": account_file.read(settings.accounts_file)[APPROVER].password}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1600, "height": 1000}, http_credentials=account)
        page.goto(f"{settings.tracking}/#/models/{MODEL}/versions/{key}")
        row = page.get_by_role("row").filter(has=page.get_by_role("cell", name="approval", exact=True))
        row.get_by_test_id("editable-table-button-edit").click(timeout=60_000)
        row.get_by_role("textbox").fill("approved")
        row.get_by_role("button", name="Save").click()
        page.get_by_role("cell", name="approved", exact=True).wait_for(timeout=30_000)
        browser.close()


def test_approved_in_a_real_page_and_finished_under_fire(stack, chromium):
    """A person approves in MLflow's page; who drives the release, who serves it and who records it are killed."""
    settings = stack.settings
    releases = database.store(settings).releases
    before = releases.latest(MODEL)[0].release_id
    entity = releasing.prediction_log(settings).read(MODEL)["entity"].iloc[-1]
    stack.run("retrain", MODEL, "--reason", "a person wants to see a release under fire")

    def newest(*phases: Phase):
        status = releases.latest(MODEL)[0]
        if status.release_id == before:
            return None
        assert status.phase in phases or not status.phase.is_final(), status.note
        return status if status.phase in phases else None

    waiting = until(lambda: newest(Phase.AWAITING_APPROVAL), 900, "the new candidate's gate")
    with Load(stack, httpx.Response(200, content=entity).json()) as load:
        time.sleep(3)
        assert releases.latest(MODEL)[0].phase is Phase.AWAITING_APPROVAL, "nobody has approved yet"
        approve_in_mlflow(chromium, settings, waiting.candidate.key)
        until(lambda: newest(Phase.SHADOW), 300, "the shadow")
        kill(settings, "airflow-triggerer")
        until(lambda: newest(Phase.CANARY), 300, "the canary")
        kill(settings, f"server-stable-{settings.ports('stable')[0]}")
        kill(settings, "airflow-scheduler")
        kill(settings, "mlflow")
        done = until(lambda: newest(Phase.SUCCEEDED), 600, "the release to finish")
        time.sleep(2)
    assert load.failures == []
    assert load.sent > 300
    record = versions.registry(settings).find(MODEL, "champion")
    assert record.ref.digest == done.candidate.digest
    assert [one.actor for one in done.approvals] == [APPROVER]
    assert record.tags[f"approval.by.{APPROVER}"].startswith(f"approved {done.candidate.digest} ")
    until(
        lambda: all(one["statename"] == "RUNNING" for one in supervisord.states(settings).values()),
        60,
        "all up",
    )


def kill(settings, name: str) -> None:
    """SIGKILL a process with all its children."""
    os.killpg(supervisord.states(settings)[name]["pid"], signal.SIGKILL)


def test_down_leaves_no_process(stack):
    stack.run("local", "down")
    assert until(lambda: not stack.processes(), 10, f"no process, not {stack.processes()}")


def test_ctrl_c_stops_everything(tmp_path):
    stack = make_stack(tmp_path, {})
    log = tmp_path / "demo.log"
    process = stack.start("demo", "run", log=log)
    try:
        until(lambda: "ready after" in log.read_text(), 300, "the first process to be ready")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=90) == 130, log.read_text()[-3000:]
    finally:
        process.kill()
        stack.run("local", "down")
    assert not stack.processes()
    assert "all processes stopped" in log.read_text()
