"""A real Airflow with accounts on free loopback ports: one DAG asks people about a release, two wait for an asset."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from serving_stack import free_ports
from some_release import a_release

from perennial import account_file
from perennial.core.release.approval import Risk
from perennial.core.release.gate_report import GateReport
from perennial.core.release.phase import Phase
from perennial.core.release.status import ReleaseStatus
from perennial.core.verdict import Judgement, Verdict
from perennial.core.version import VersionRef
from perennial.local import airflow as local_airflow
from perennial.local import handed_secrets, supervisor
from perennial.local.handed_secrets import base_environment
from perennial.local.processes import table
from perennial.settings import Settings
from perennial.wiring import database, monitoring

MODEL, RELEASE = "test_failure_predictor", "r1"
OTHER_MODEL, ASKS_EVERYBODY = "wine_cultivar", "r2"
"""A release of its own: approvals of people of an issuer must not decide the other."""
PARTS = ("api-server", "dag-processor", "scheduler", "triggerer")
ASKS_FILE = """
from airflow.sdk import DAG
from perennial.orchestration.release_steps import NOTE, ApprovalStep

with DAG("asks", schedule=None) as dag:
    ApprovalStep(task_id="approval", release_id="r1", approvers=["ann"], params=NOTE)

with DAG("asks_everybody", schedule=None) as dag_of_an_issuer:
    ApprovalStep(task_id="approval", release_id="r2", approvers=["role:approver"], params=NOTE)
"""
ASSETS_FILE = """
from airflow.sdk import DAG, Asset
from airflow.providers.standard.operators.empty import EmptyOperator
from perennial.orchestration.training_turn import TrainingTurn

for name in ("m_1", "mx1"):  # the second differs where SQL's LIKE sees no difference
    asset = Asset(name=f"perennial/{name}/retrain", uri=f"perennial://{name}/retrain")
    with DAG(f"train_{name}", schedule=[asset]) as dag:
        EmptyOperator(task_id="nothing", pool="trainings", priority_weight=20, weight_rule=TrainingTurn())
    globals()[dag.dag_id] = dag
"""
QUESTION = "/dags/asks/runs/{run}/tasks/approval/required_actions"
ANSWER = "/api/v2/dags/asks/dagRuns/{run}/taskInstances/approval/-1/hitlDetails"


class AirflowServer:
    """Airflow with the accounts of `perennial local setup`, and one release that waits for a person.

    Args:
        given: further settings.
    """

    def __init__(self, folder: Path, **given: Any) -> None:
        self.ports = free_ports(3)
        self.settings = Settings(
            **given, home=folder, people="ann:approver,olga:operator,vic:viewer", port_airflow=self.ports[0],
            port_mlflow=self.ports[1], port_envoy=self.ports[2],
        )  # fmt: skip
        supervisor.set_up(self.settings, lambda line: None)
        handed_secrets.write(self.settings)
        (folder / "dags").mkdir()
        (folder / "dags" / "asks.py").write_text(ASKS_FILE)
        (folder / "dags" / "assets.py").write_text(ASSETS_FILE)
        self.env = base_environment(self.settings)
        self._own = {process.name: process for process in table(self.settings)}
        self._test = {
            "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        self.store = database.store(self.settings)
        self.store.releases.save(waiting(), None, [])
        other = VersionRef(model=OTHER_MODEL, version="1.0.0", key="1", digest="d" * 64, capsule="c")
        self.store.releases.save(waiting(release_id=ASKS_EVERYBODY, candidate=other), None, [])
        self.processes: list[subprocess.Popen] = []
        self.logs = folder / "logs"

    def replace_environment(self, **variables: str) -> None:
        """Set variables of all parts of Airflow, before they start."""
        self._test |= variables

    def start(self) -> None:
        local_airflow.migrate(self.settings, {**self.env, **self._test})
        for part in PARTS:
            process = self._own[f"airflow-{part}"]
            with (self.logs / f"{part}.log").open("w") as log:
                env = {**self.env, **process.environment, **self._test}
                self.processes.append(
                    subprocess.Popen(process.command, env=env, stdout=log, stderr=log, start_new_session=True)
                )
        for dag in ("asks", "asks_everybody", "train_m_1", "train_mx1"):
            path = f"/api/v2/dags/{dag}"
            self.until(lambda path=path: self.call("admin", "GET", path).status_code == 200, path)

    def another_api_server(self, settings: Settings, secret: str) -> None:
        """Start one more API server over the same database, with other accounts; it stops with the others."""
        path = settings.state / "client-secret"
        path.write_text(secret)
        process = next(process for process in table(settings) if process.name == "airflow-api-server")
        env = {**base_environment(settings), **process.environment, **self._test}
        env["PERENNIAL_OIDC_CLIENT_SECRET_FILE"] = str(path)
        with (self.logs / "another-api-server.log").open("w") as log:
            self.processes.append(
                subprocess.Popen(process.command, env=env, stdout=log, stderr=log, start_new_session=True)
            )
        health = f"{settings.airflow_url}/api/v2/monitor/health"
        self.until(lambda: httpx.get(health, timeout=10).status_code == 200, health)

    def stop(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, 15)
        for process in self.processes:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait()

    def call(self, name: str, method: str, path: str, body: dict | None = None) -> httpx.Response:
        account = {"username": name, "password": self.password(name)}
        url, verify = self.settings.airflow_url, self.settings.verify
        token = httpx.post(f"{url}/auth/token", json=account, timeout=60, verify=verify).json()[
            "access_token"
        ]
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.request(method, url + path, json=body, headers=headers, timeout=240, verify=verify)

    def password(self, name: str) -> str:
        if name == self.settings.airflow_user:
            return monitoring.airflow_password(self.settings)
        return account_file.read(self.settings.accounts_file)[name].password

    def until(self, condition, what: str, timeout: float = 400):
        deadline = time.monotonic() + timeout
        while True:
            assert time.monotonic() < deadline, f"waited {timeout} s for {what}: {self._tails()}"
            assert all(process.poll() is None for process in self.processes), self._tails()
            try:
                if found := condition():
                    return found
            except (httpx.HTTPError, KeyError, ValueError):  # not up yet
                pass
            time.sleep(0.3)

    def _tails(self) -> str:
        return "\n".join(f"{path.name}: {path.read_text()[-800:]}" for path in self.logs.glob("*.log"))


def waiting(**more: Any) -> ReleaseStatus:
    gate = GateReport(
        digest="d" * 64,
        rules=(Judgement(rule="latency", verdict=Verdict.PASS, observed="p95 4 ms", needed="<= 50 ms"),),
        risk=Risk.HIGH,
        risk_reasons=("the first version of this model",),
    )
    usual = {"release_id": RELEASE, "gate": gate}
    return a_release(datetime.now(UTC), Phase.AWAITING_APPROVAL, **usual | more)
