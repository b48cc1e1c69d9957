"""Many trainings queued at once with Airflow's scheduler and LocalExecutor: an empty task each, in a pool, half urgent.

The pool has no slot while all are queued; then it opens. So every run waits for its turn, and the order is Airflow's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from airflow_server import AirflowServer

from scale_parts.figures import Figure

SLOTS = 3
"""One less than the tasks that LocalExecutor runs at once here: the last is left to releases."""
PAGE = 50
DAGS = """
from airflow.sdk import DAG, task

for number in range({count}):
    # every second one is urgent
    with DAG(f"queued_{{number:03d}}", schedule=None, default_args={{"pool": "trainings"}}) as dag:

        @task(priority_weight=10 if number % 2 else 1)
        def train():
            pass

        train()
    globals()[dag.dag_id] = dag
"""


def figures(folder: Path, count: int) -> Iterator[Figure]:
    server = AirflowServer(folder)
    (folder / "dags" / "queued.py").write_text(DAGS.format(count=count))
    try:
        server.start()
        yield from _queued(server, _client(server), [f"queued_{number:03d}" for number in range(count)])
    finally:
        server.stop()


def _client(server: AirflowServer) -> httpx.Client:
    account = {"username": "admin", "password": server.password("admin")}
    url = server.settings.airflow_url
    token = httpx.post(f"{url}/auth/token", json=account, timeout=60).json()["access_token"]
    return httpx.Client(base_url=f"{url}/api/v2", headers={"Authorization": f"Bearer {token}"}, timeout=60)


def _queued(server: AirflowServer, client: httpx.Client, dags: list[str]) -> Iterator[Figure]:
    pool = {"name": "trainings", "slots": 0, "description": "", "include_deferred": False}
    client.post("/pools", json=pool).raise_for_status()
    server.until(lambda: client.get(f"/dags/{dags[-1]}").status_code == 200, "the DAGs")
    for dag in dags:
        client.post(f"/dags/{dag}/dagRuns", json={"logical_date": None}).raise_for_status()
    server.until(lambda: len(_tasks(client, ["scheduled"])) == len(dags), "all waiting for the pool", 1800)
    opened = time.time()
    client.patch("/pools/trainings", json=pool | {"slots": SLOTS}).raise_for_status()
    server.until(lambda: len(_tasks(client, ["success", "failed"])) == len(dags), "the end of all", 7200)
    ended = time.time() - opened
    tasks = sorted(_tasks(client, ["success"]), key=lambda task: _seconds(task["start_date"]))
    waits = np.array([_seconds(task["start_date"]) - opened for task in tasks])
    urgent = np.array([task["priority_weight"] > 1 for task in tasks])
    yield Figure(
        f"{len(dags)} trainings at once, pool of {SLOTS}",
        f"{ended:.0f} s",
        "",
        f"{len(dags) - len(tasks)} lost or failed",
    )
    for what, mine in (("urgent ones", waits[urgent]), ("the others", waits[~urgent])):
        shown = " / ".join(f"{wait:.0f}" for wait in np.quantile(mine, (0, 0.5, 1)))
        yield Figure(f"start latency of {what}: first, median, last", f"{shown} s", "")
    before = sum(int((~urgent[:place]).sum()) for place in np.flatnonzero(urgent))
    yield Figure(
        "most at once",
        "",
        "",
        f"{_most_at_once(tasks)} of {SLOTS} slots; {before} urgent ones after one that was not",
    )


def _tasks(client: httpx.Client, states: list[str]) -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = []
    while True:
        asked = {"pool": "trainings", "state": states, "limit": PAGE, "offset": len(tasks)}
        page = client.get("/dags/~/dagRuns/~/taskInstances", params=asked).raise_for_status().json()
        tasks += page["task_instances"]
        if not page["task_instances"] or len(tasks) >= page["total_entries"]:
            return tasks


def _most_at_once(tasks: list[dict[str, Any]]) -> int:
    changes = sorted(
        (at, change)
        for task in tasks
        for at, change in ((_seconds(task["start_date"]), 1), (_seconds(task["end_date"]), -1))
    )
    return int(max(np.cumsum([change for _, change in changes])))


def _seconds(time_of_airflow: str) -> float:
    return datetime.fromisoformat(time_of_airflow).timestamp()
