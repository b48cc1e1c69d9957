"""Follows one DAG run through Airflow's REST API and says each task as it ends."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx

from perennial.errors import SchedulerUnavailable, TrainingFailed
from perennial.settings import Settings


class AirflowWatch:
    """A reader of runs and tasks; triggers nothing."""

    def __init__(self, settings: Settings, password: str) -> None:
        self._client = httpx.Client(base_url=settings.airflow_url, timeout=20.0)
        self._account = {"username": settings.airflow_user, "password": password}

    def _get(self, path: str, **query: str | int) -> dict:
        answer = self._client.get(path, params=query)
        if answer.status_code == 401:
            token = self._client.post("/auth/token", json=self._account).json()["access_token"]
            self._client.headers["Authorization"] = f"Bearer {token}"
            answer = self._client.get(path, params=query)
        if answer.status_code >= 400:
            raise SchedulerUnavailable(
                f"Airflow answers {answer.status_code} to {path}", hint=answer.text[:300]
            )
        return answer.json()

    def wait_parsed(self, dags: list[str], timeout: float) -> None:
        """Until the DAG processor has seen every DAG."""
        deadline = time.monotonic() + timeout
        while missing := set(dags) - {one["dag_id"] for one in self._get("/api/v2/dags", limit=100)["dags"]}:
            if time.monotonic() > deadline:
                errors = self._get("/api/v2/importErrors")["import_errors"]
                text = errors[0]["stack_trace"][-600:] if errors else "no import error is reported"
                raise SchedulerUnavailable(f"Airflow does not list {', '.join(sorted(missing))}", hint=text)
            time.sleep(1.0)

    def runs(self, dag: str) -> list[dict]:
        """Runs of a DAG, newest first."""
        return self._get(f"/api/v2/dags/{dag}/dagRuns", order_by="-run_after", limit=20)["dag_runs"]

    def tasks(self, dag: str, run: str) -> dict[str, str]:
        """Task id -> state."""
        found = self._get(f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances")["task_instances"]
        return {one["task_id"]: one["state"] or "waiting" for one in found}

    def follow(self, dag: str, run: str, tell: Callable[[str], None], timeout: float) -> None:
        """Say each task's end until the run has ended.

        Raises:
            TrainingFailed: a task failed, or it took too long; names the task and where its log is.
        """
        told: set[str] = set()
        deadline = time.monotonic() + timeout
        while True:
            tasks = self.tasks(dag, run)
            for task, state in tasks.items():
                if state in ("success", "failed", "skipped") and task not in told:
                    told.add(task)
                    tell(f"Airflow {dag}: {task} {state}")
            failed = [task for task, state in tasks.items() if state == "failed"]
            if failed:
                raise TrainingFailed(
                    f"task {failed[0]} of {dag} failed", hint=f"its log: Airflow's page, run {run}"
                )
            if tasks and all(state == "success" for state in tasks.values()):
                return
            if time.monotonic() > deadline:
                raise TrainingFailed(f"{dag} has not ended after {timeout:.0f} s", hint=f"tasks: {tasks}")
            time.sleep(1.0)
