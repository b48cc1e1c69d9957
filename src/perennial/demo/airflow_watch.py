"""Reports the tasks of a DAG run through Airflow's REST API."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx

from perennial.adapters.airflow_trigger import AirflowTrigger
from perennial.errors import SchedulerUnavailable, TrainingFailed

PATIENCE = 120.0
"""Seconds for which Airflow may leave a request unanswered."""


class AirflowWatch(AirflowTrigger):
    """A client of Airflow that also reads DAG runs and tasks."""

    def get(self, path: str, **query: str | int) -> Any:
        """Read a resource; ask again for `PATIENCE` seconds, since requests to Airflow time out on a busy machine.

        Raises:
            SchedulerUnavailable: Airflow refuses, or does not answer in this time.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return super().get(path, **query)
            except SchedulerUnavailable as error:
                if not isinstance(error.__cause__, httpx.TransportError) or time.monotonic() > deadline:
                    raise
                time.sleep(1.0)

    def wait_parsed(self, dags: list[str], timeout: float) -> None:
        """Wait until the DAG processor has parsed every DAG."""
        deadline = time.monotonic() + timeout
        while missing := set(dags) - {dag["dag_id"] for dag in self.get("/api/v2/dags", limit=100)["dags"]}:
            if time.monotonic() > deadline:
                errors = self.get("/api/v2/importErrors")["import_errors"]
                text = errors[0]["stack_trace"][-600:] if errors else "no import error is reported"
                raise SchedulerUnavailable(f"Airflow does not list {', '.join(sorted(missing))}", hint=text)
            time.sleep(1.0)

    def runs(self, dag: str) -> list[dict[str, Any]]:
        """Return the runs of a DAG, newest first."""
        return self.get(f"/api/v2/dags/{dag}/dagRuns", order_by="-run_after", limit=20)["dag_runs"]

    def tasks(self, dag: str, run: str) -> dict[str, str]:
        """Return the state of each task by task id."""
        tasks = self.get(f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances")["task_instances"]
        return {task["task_id"]: task["state"] or "waiting" for task in tasks}

    def follow(self, dag: str, run: str, say: Callable[[str], None], timeout: float) -> None:
        """Report each finished task until the run has ended.

        Raises:
            TrainingFailed: a task failed or the time is over; the message names the task.
        """
        reported: set[str] = set()
        deadline = time.monotonic() + timeout
        while True:
            tasks = self.tasks(dag, run)
            for task, state in tasks.items():
                if state in ("success", "failed", "skipped") and task not in reported:
                    reported.add(task)
                    say(f"Airflow {dag}: {task} {state}")
            failed = [task for task, state in tasks.items() if state == "failed"]
            if failed:
                raise TrainingFailed(
                    f"task {failed[0]} of {dag} failed", hint=f"see its log on Airflow's page, run {run}"
                )
            if tasks and all(state == "success" for state in tasks.values()):
                return
            if time.monotonic() > deadline:
                raise TrainingFailed(f"{dag} has not ended after {timeout:.0f} s", hint=f"tasks: {tasks}")
            time.sleep(1.0)
