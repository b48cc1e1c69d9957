"""A real Airflow with accounts, on free loopback ports, whose one DAG asks people about one release."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
from serving_stack import free_ports
from some_release import a_release

from perennial import account_file
from perennial.core.release.approval import Risk
from perennial.core.release.gate_report import GateReport
from perennial.core.release.phase import Phase
from perennial.core.release.status import ReleaseStatus
from perennial.core.verdict import Judgement, Verdict
from perennial.local import airflow as local_airflow
from perennial.local import supervisor
from perennial.local.processes import base_environment
from perennial.settings import Settings
from perennial.wiring import database

MODEL, RELEASE = "test_failure_predictor", "r1"
PARTS = (
    ("api-server", "--workers", "1"),
    ("dag-processor",),
    ("scheduler", "--skip-serve-logs"),
    ("triggerer", "--skip-serve-logs"),
)
DAG_FILE = """
from airflow.sdk import DAG
from perennial.orchestration.release_steps import NOTE, ApprovalStep

with DAG("asks", schedule=None) as dag:
    ApprovalStep(task_id="approval", release_id="r1", approvers=["ann"], params=NOTE)
"""
QUESTION = "/dags/asks/runs/{run}/tasks/approval/required_actions"
ANSWER = "/api/v2/dags/asks/dagRuns/{run}/taskInstances/approval/-1/hitlDetails"


class AirflowServer:
    """Airflow with the accounts of `perennial local setup`, and one release that waits for a person."""

    def __init__(self, folder: Path) -> None:
        self.ports = free_ports(3)
        self.settings = Settings(
            home=folder, people="ann:approver,olga:operator,vic:viewer", port_airflow=self.ports[0],
            port_mlflow=self.ports[1], port_envoy=self.ports[2],
        )  # fmt: skip
        supervisor.set_up(self.settings, lambda line: None)
        (folder / "dags").mkdir()
        (folder / "dags" / "asks.py").write_text(DAG_FILE)
        self.env = {
            **base_environment(self.settings),
            "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        self.store = database.store(self.settings)
        self.store.releases.save(waiting(), None, [])
        self.processes: list[subprocess.Popen] = []
        self.logs = folder / "logs"

    def start(self) -> None:
        local_airflow.migrate(self.settings, self.env)
        for part in PARTS:
            with (self.logs / f"{part[0]}.log").open("w") as log:
                line = [sys.executable, "-m", "airflow", *part]
                self.processes.append(
                    subprocess.Popen(line, env=self.env, stdout=log, stderr=log, start_new_session=True)
                )
        self.until(lambda: self.call("admin", "GET", "/api/v2/dags/asks").status_code == 200, "the DAG")

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
        url = self.settings.airflow_url
        token = httpx.post(f"{url}/auth/token", json=account, timeout=60).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.request(method, url + path, json=body, headers=headers, timeout=60)

    def password(self, name: str) -> str:
        return account_file.read(self.settings.accounts_file)[name].password

    def until(self, condition, what: str, timeout: float = 400):
        deadline = time.monotonic() + timeout
        while True:
            assert time.monotonic() < deadline, f"waited {timeout} s for {what}: {self._tails()}"
            assert all(one.poll() is None for one in self.processes), self._tails()
            try:
                if found := condition():
                    return found
            except (httpx.HTTPError, KeyError, ValueError):  # not up yet
                pass
            time.sleep(1)

    def _tails(self) -> str:
        return "\n".join(f"{path.name}: {path.read_text()[-800:]}" for path in self.logs.glob("*.log"))


def waiting() -> ReleaseStatus:
    gate = GateReport(
        digest="d" * 64,
        rules=(Judgement(rule="latency", verdict=Verdict.PASS, observed="p95 4 ms", needed="<= 50 ms"),),
        risk=Risk.HIGH,
        risk_reasons=("the first version of this model",),
    )
    return a_release(datetime.now(UTC), Phase.AWAITING_APPROVAL, release_id=RELEASE, gate=gate)
