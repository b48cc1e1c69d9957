"""The closed loop with every process real: the figures of the demo and its release under fire."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from perennial.core.events import Event
from perennial.core.payloads import RetrainRequest
from perennial.demo.airflow_watch import AirflowWatch
from perennial.local import supervisord
from perennial.settings import Settings
from perennial.wiring import database, monitoring, versions

from .conftest import MODEL, ROOT, until
from .under_fire import APPROVER

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]


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
    assert record.tags["reason"] in ("labels", "person")
    rows = database.store(stack.settings).ledger.rows(MODEL)
    assert "retrain.requested" in [row.entry.kind for row in rows]
    assert "the chain holds" in stack.run("ledger", "verify")


@pytest.fixture
def real(report) -> dict:
    """The report of a demo over the real cycles: the features of the simulated ones tell of their shift, so that a
    champion loses little by it and a retraining brings little."""
    if report["source"] != "iofrol":
        pytest.skip(f"no retraining of the simulated history helps; {report['why']}")
    return report


def test_the_back_test_promised_a_gain_and_the_gate_had_proof(stack, real):
    request, *_ = database.store(stack.settings).ledger.rows(MODEL, kinds=[Event.RETRAIN_REQUESTED])
    assert RetrainRequest.read(request.entry).likely.startswith("a gain is likely: ")
    assert "a gain is likely" in real["drift"]
    rules = real["gate"]["rules"]
    proven = {name: rule["verdict"] for name, rule in rules.items()}
    assert [proven[name] for name in ("improvement", "roc_auc", "brier")] == ["PASS"] * 3, rules


def test_the_retraining_has_helped_on_requests_spread_over_the_rest_of_the_year(real):
    """Proven in each of 3,600 simulated runs, whichever cycle the count begins with (`docs/guide/operations.md`)."""
    effect = real["effect"]
    assert (effect["version"], effect["against"]) == ("1.1.0", "1.0.0")
    assert effect["labels"] >= 2000
    assert effect["left_out"] == 0
    gain = effect["measured"]
    assert gain["low"] <= gain["difference"] <= gain["high"]
    assert gain["difference"] == pytest.approx(gain["new"] - gain["old"])
    assert effect["verdict"] == "helped", gain


def test_the_next_labels_are_asked_whether_a_further_retraining_helps(stack, real):
    """Mostly it would not; about one back-test in a hundred promises a gain."""
    assert "labels came since the champion's training" in real["next_retraining"]
    if real["next_retraining_made"]:
        assert "its back-test: a gain is likely" in real["next_retraining"]
    else:
        assert "a retraining would not help: no gain is " in real["next_retraining"]
        assert "withheld at" in stack.run("retrain", "status", MODEL)


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


def test_approved_in_a_real_page_and_finished_under_fire(stack, second_release):
    """A person approves in MLflow's page; who drives the release, who serves it and who records it are killed."""
    settings, done, load = stack.settings, second_release.status, second_release.load
    assert load.failures == []
    assert load.sent > 300
    record = versions.registry(settings).find(MODEL, "champion")
    assert record.ref.digest == done.candidate.digest
    assert [approval.actor for approval in done.approvals] == [APPROVER]
    assert record.tags[f"approval.by.{APPROVER}"].startswith(f"approved {done.candidate.digest} ")
    until(
        lambda: all(state["statename"] == "RUNNING" for state in supervisord.states(settings).values()),
        180,
        "all up",
    )


def test_the_doctor_finds_every_server_well(stack):
    asked = {"processes", "database", "data remote", "online store", "MLflow account", "MLflow version",
             "Airflow account", "Airflow version", "Envoy", "routes and servers"}  # fmt: skip
    seen: dict[str, str] = {}

    def healthy() -> bool:
        command = [sys.executable, "-m", "perennial", "doctor", "--json", "--timeout", "120"]
        done = subprocess.run(command, env=stack.env, cwd=ROOT, capture_output=True, text=True, check=False)
        seen.clear()
        seen.update({row["check"]: f"{row['state']}: {row['what']}" for row in json.loads(done.stdout)})
        return all(seen.get(name, "").startswith("ok") for name in asked)

    assert until(healthy, 240, "a doctor without findings"), seen


def test_a_person_asks_for_a_retraining_and_airflow_starts_it(stack):
    """What comes after it, a training and a release, is the way that the demo's own retraining went."""
    train, text = f"train_{MODEL}", "a person has seen worse rankings"
    airflow = airflow_of(stack.settings)
    before = len(airflow.runs(train))
    stack.run("retrain", MODEL, "--reason", text)
    until(lambda: len(airflow.runs(train)) > before, 180, "Airflow to start the training")
    run = airflow.runs(train)[0]
    assert run["run_type"] == "asset_triggered"
    path = f"/api/v2/dags/{train}/dagRuns/{run['dag_run_id']}/taskInstances/why/xcomEntries/return_value"
    until(lambda: airflow.tasks(train, run["dag_run_id"])["why"] == "success", 180, "the first task")
    value = airflow.get(path)["value"]
    assert (value["reason"], value["text"]) == ("person", text)


def test_down_leaves_no_process(stack):
    stack.run("local", "down")
    assert until(lambda: not stack.processes(), 60, f"no process, not {stack.processes()}")


def test_ctrl_c_stops_everything(stack, tmp_path):
    log = tmp_path / "demo.log"
    process = stack.start("demo", "run", log=log)
    try:
        until(lambda: "ready after" in log.read_text(), 600, "the first process to be ready")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=90) == 130, log.read_text()[-3000:]
    finally:
        process.kill()
    assert not stack.processes()
    assert "all processes stopped" in log.read_text()
