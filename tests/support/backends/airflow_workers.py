"""Airflow on PostgreSQL with workers behind Redis, under supervisord, as `perennial local up` starts it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from serving_stack import free_ports

from perennial.local import airflow, handed_secrets, processes, supervisor, supervisord
from perennial.settings import Settings
from perennial.wiring.monitoring import airflow_password

DAGS = """
from datetime import timedelta
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

AGAIN = {"retries": 20, "retry_delay": timedelta(seconds=2)}

with DAG("queues", schedule=None, default_args=AGAIN) as dag:
    for task, queue in (("training", {"queue": "training"}), ("light", {"queue": "light"}), ("unnamed", {})):
        BashOperator(
            task_id=task, bash_command=f'echo "$PERENNIAL_ACCOUNTS_PATH" > "$PERENNIAL_PROJECT/{task}.txt"',
            append_env=True, **queue,
        )

with DAG("long", schedule=None, default_args=AGAIN) as dag:  # until it has been begun a second time
    BashOperator(
        task_id="train", queue="training", append_env=True,
        bash_command='cd "$PERENNIAL_PROJECT" && if mkdir begun; then sleep 3600; else touch again; fi',
    )
"""


class AirflowWorkers:
    """Every part of Airflow and a worker per queue.

    Args:
        folder: becomes the project, with two small DAGs.
    """

    def __init__(self, folder: Path, database: str, broker: str) -> None:
        (folder / "dags").mkdir(parents=True)
        (folder / "dags" / "train.py").write_text(DAGS)
        ports = free_ports(3)
        self.folder = folder
        self.settings = Settings(
            project=folder, home=Path("state"), airflow_database_url=database, celery_broker_url=broker,
            port_airflow=ports[0], port_mlflow=ports[1], port_envoy=ports[2],
        )  # fmt: skip
        self.parts = [part for part in processes.table(self.settings) if part.name.startswith("airflow-")]

    def start(self) -> None:
        supervisor.set_up(self.settings, lambda line: None)
        handed_secrets.write(self.settings)
        environment = {
            **handed_secrets.base_environment(self.settings),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            # By default five minutes: a test waits for it.
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
        }
        supervisord.launch(self.settings, self.parts, environment)
        airflow.migrate(self.settings, environment)
        for part in self.parts:
            supervisord.control(self.settings).startProcess(part.name, False)
        self.wait_ready()
        self.until(lambda: self.call("GET", "/api/v2/dags/long").status_code == 200, "the DAGs")

    def stop(self) -> None:
        supervisor.down(self.settings, lambda line: None, timeout=300)

    def wait_ready(self) -> None:
        """Wait until each part is ready, as `perennial local up` does."""
        with httpx.Client(timeout=10) as client:
            for part in self.parts:
                self.until(lambda part=part: not part.check(client), part.name)

    def kill(self, name: str) -> None:
        """Send SIGKILL to a process and to what it has started."""
        os.killpg(supervisord.states(self.settings)[name]["pid"], signal.SIGKILL)

    def run(self, dag: str) -> str:
        """Start a DAG; returns the id of the run."""
        body = {"logical_date": None}
        answer = self.until(
            lambda: (
                (made := self.call("POST", f"/api/v2/dags/{dag}/dagRuns", body)).status_code == 200 and made
            ),
            dag,
        )
        return answer.json()["dag_run_id"]

    def wait_success(self, dag: str, run: str) -> None:
        path = f"/api/v2/dags/{dag}/dagRuns/{run}"
        self.until(lambda: self.call("GET", path).json()["state"] == "success", f"{dag} {run}")

    def call(self, method: str, path: str, body: dict | None = None) -> httpx.Response:
        url = self.settings.airflow_url
        account = {"username": self.settings.airflow_user, "password": airflow_password(self.settings)}
        token = httpx.post(f"{url}/auth/token", json=account, timeout=60).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.request(method, url + path, json=body, headers=headers, timeout=60)

    def until(self, condition: Callable[[], Any], what: str, seconds: float = 600) -> Any:
        deadline = time.monotonic() + seconds
        while True:
            try:
                if value := condition():
                    return value
            except (httpx.HTTPError, KeyError, ValueError):  # not up, or down for now
                pass
            assert time.monotonic() < deadline, f"waited for {what}: {self._ends_of_logs()}"
            time.sleep(0.5)

    def _ends_of_logs(self) -> str:
        logs = (self.settings.state / "logs").glob("*.log")
        return "\n".join(f"{path.name}: {path.read_text(errors='replace')[-1500:]}" for path in logs)
