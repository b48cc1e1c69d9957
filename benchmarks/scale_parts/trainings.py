"""Many trainings queued at once with Airflow's scheduler and LocalExecutor, by the DAG of `dags/train.py`.

One step stands for the five of a training, and does nothing: what is measured is the queue. Every fourth run is asked
for, as an alarm of the monitor does, the others are started by hand; some models have priority in their spec. The
pool has no slot while all are queued; then it opens.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from airflow_server import AirflowServer

from perennial.adapters.airflow_trigger import AirflowTrigger
from perennial.backend_settings import TRAININGS
from perennial.core.assets import Reason
from perennial.errors import SchedulerUnavailable
from perennial.flows.monitoring.retrain import request_retraining
from perennial.wiring import monitoring
from scale_parts.figures import Figure

ROOT = Path(__file__).resolve().parents[2]
PAGE = 50
TRIES = 60
STEP = "register"
SHIM = """#!/bin/sh
mkdir -p "$4" && echo '{"version": "1.0.0", "digest": "none"}' > "$4/registered.json"
"""
TURNS = {
    (True, True): "asked for, priority",
    (True, False): "asked for",
    (False, True): "priority",
    (False, False): "others",
}
"""(asked for by an event, priority in the spec) -> words, in the order in which they should start."""


class PatientTrigger(AirflowTrigger):
    """Asks again while Airflow's API server is too busy to answer; it starts nothing twice."""

    def get(self, path: str, **query: Any) -> Any:
        while True:
            try:
                return super().get(path, **query)
            except SchedulerUnavailable as error:
                if "does not answer" not in error.message:
                    raise


def figures(folder: Path, count: int) -> Iterator[Figure]:
    models = [f"queued_{number:03d}" for number in range(count)]
    turns = {
        model: (number % 4 == 0, number % 2 == 0 and number % 8 != 4) for number, model in enumerate(models)
    }
    server = AirflowServer(folder, project=_project(folder / "project", turns))
    _replace_steps(server, folder)
    try:
        server.start()
        yield from _queued(server, turns)
    finally:
        server.stop()


def _project(project: Path, turns: dict[str, tuple[bool, bool]]) -> Path:
    """Write a project with a spec for each model."""
    shutil.copytree(ROOT / "configs", project / "configs")
    folder = project / "configs" / "models"
    spec = yaml.safe_load((folder / "test_failure_predictor.yaml").read_text())
    for path in folder.iterdir():
        path.unlink()
    for model, (_, has_priority) in turns.items():
        retraining = {**spec["retraining"], "priority": 50 if has_priority else 10}
        own = {**spec, "name": model, "retraining": retraining}
        (folder / f"{model}.yaml").write_text(yaml.safe_dump(own, sort_keys=False))
    return project


def _replace_steps(server: AirflowServer, folder: Path) -> None:
    """Give the server the DAG file with one step, and a `perennial` that does nothing in it."""
    dags = (ROOT / "dags" / "train.py").read_text()
    short, changed = re.subn(r"^STEPS = \(.*\)$", f'STEPS = ("{STEP}",)', dags, flags=re.MULTILINE)
    assert changed == 1, "dags/train.py names its steps otherwise"
    (folder / "dags" / "train.py").write_text(short)
    (folder / "bin").mkdir()
    shim = folder / "bin" / "perennial"
    shim.write_text(SHIM)
    shim.chmod(0o755)
    server.replace_environment(PATH=f"{shim.parent}{os.pathsep}{os.environ['PATH']}")


def _queued(server: AirflowServer, turns: dict[str, tuple[bool, bool]]) -> Iterator[Figure]:
    airflow = PatientTrigger(
        server.settings.airflow_url,
        server.settings.airflow_user,
        monitoring.airflow_password(server.settings),
    )
    count, slots = len(turns), server.settings.training_slots
    parsed = {"dag_id_pattern": "train_queued", "limit": 1}
    server.until(lambda: airflow.get("/api/v2/dags", **parsed)["total_entries"] == count, "the DAGs", 1800)
    _set_slots(server, 0)
    began, refused = time.time(), 0
    for model, (asked, _) in turns.items():
        if asked:
            now = datetime.now(UTC)
            request_retraining(model, Reason.DRIFT, "an alarm", "monitor", server.store.ledger, airflow, now)
        else:
            refused += _trigger(airflow, f"train_{model}")
    asked_s = time.time() - began
    server.until(lambda: len(_steps(airflow, ["scheduled"])) == count, "all waiting for the pool", 3600)
    queued_s = time.time() - began
    opened = time.time()
    _set_slots(server, slots)
    server.until(lambda: _ended(airflow) >= count, "the end of all", 7200)
    ended_s = time.time() - opened
    steps = sorted(_steps(airflow, ["success"]), key=lambda step: _seconds(step["start_date"]))
    order = list(TURNS)
    by_turn: dict[tuple[bool, bool], list[float]] = {turn: [] for turn in order}
    late = []
    for step in steps:
        turn = turns[step["dag_id"].removeprefix("train_")]
        by_turn[turn].append(_seconds(step["start_date"]) - opened)
        late.append(order.index(turn))
    failed = count - len(_runs(airflow, "success"))
    yield Figure(
        f"{count} trainings asked for",
        f"{asked_s:.0f} s",
        "",
        f"{refused} refused and repeated; all wait for the pool after {queued_s:.0f} s",
    )
    yield Figure(
        f"until the last of them has ended, pool of {slots}",
        f"{ended_s:.0f} s",
        "",
        f"{failed} lost or failed",
    )
    for turn, waits in by_turn.items():
        shown = " / ".join(f"{wait:.0f}" for wait in np.quantile(waits, (0, 0.5, 0.99, 1))) if waits else "-"
        yield Figure(f"start of the {len(waits)} {TURNS[turn]}: first, p50, p99, last", f"{shown} s", "")
    overtaken = sum(later < earlier for place, earlier in enumerate(late) for later in late[place + 1 :])
    yield Figure(
        "most steps at once", "", "", f"{_most_at_once(_steps(airflow, ['success'], '~'))} of {slots} slots; "
        f"{overtaken} of {count * (count - 1) // 2} pairs started out of turn",
    )  # fmt: skip


def _trigger(airflow: AirflowTrigger, dag: str) -> int:
    """Start a run, and return how often Airflow refused it before; a run that it has made nevertheless counts."""
    for refused in range(TRIES):
        try:
            airflow.trigger(dag, {})
        except SchedulerUnavailable as error:
            print(f"{dag}: {error.message[:200]}", file=sys.stderr, flush=True)
            time.sleep(2)
            if airflow.get(f"/api/v2/dags/{dag}/dagRuns", limit=1)["total_entries"] == 0:
                continue
        return refused
    raise SchedulerUnavailable(f"{dag} could not be started", hint="see the log of Airflow's API server")


def _set_slots(server: AirflowServer, slots: int) -> None:
    body = {"name": TRAININGS, "slots": slots, "include_deferred": False}
    name = server.settings.airflow_user
    server.call(name, "PATCH", f"/api/v2/pools/{TRAININGS}?update_mask=slots", body).raise_for_status()


def _ended(airflow: AirflowTrigger) -> int:
    return sum(len(_runs(airflow, state)) for state in ("success", "failed"))


def _runs(airflow: AirflowTrigger, state: str) -> list[dict[str, Any]]:
    return _pages(
        airflow, "/api/v2/dags/~/dagRuns", "dag_runs", {"state": state, "dag_id_pattern": "train_queued"}
    )


def _steps(airflow: AirflowTrigger, states: list[str], task: str = STEP) -> list[dict[str, Any]]:
    """Return the tasks in the pool."""
    asked = {"pool": TRAININGS, "state": states}
    tasks = _pages(airflow, "/api/v2/dags/~/dagRuns/~/taskInstances", "task_instances", asked)
    return [one for one in tasks if task in ("~", one["task_id"])]


def _pages(airflow: AirflowTrigger, path: str, key: str, asked: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    while True:
        page = airflow.get(path, **asked, limit=PAGE, offset=len(rows))
        rows += page[key]
        if not page[key] or len(rows) >= page["total_entries"]:
            return rows


def _most_at_once(tasks: list[dict[str, Any]]) -> int:
    changes = sorted(
        (at, change)
        for task in tasks
        for at, change in ((_seconds(task["start_date"]), 1), (_seconds(task["end_date"]), -1))
    )
    return int(max(np.cumsum([change for _, change in changes])))


def _seconds(time_of_airflow: str) -> float:
    return datetime.fromisoformat(time_of_airflow).timestamp()
