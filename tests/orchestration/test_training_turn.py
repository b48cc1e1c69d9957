"""Which step of the trainings that wait is next, and how many run at once."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from perennial.core.monitoring_spec import RetrainingSpec
from perennial.orchestration.training_turn import BEFORE_TRAININGS, TrainingTurn
from perennial.settings import Settings

LONGER_THAN_SQLITES_DEFAULT = 7.0
MOST = RetrainingSpec.model_fields["priority"].metadata[1].le


def weight(run: str, priority: int, steps_before: int) -> int:
    def relatives(upstream: bool) -> set[str]:
        return {str(number) for number in range(steps_before)} if upstream else set()

    task = SimpleNamespace(priority_weight=priority, get_flat_relative_ids=relatives)
    return TrainingTurn().get_weight(SimpleNamespace(run_id=run, task=task))


def test_the_order_of_turns():
    """What an alarm asked for, then the model with priority, then the run that is furthest."""
    order = [
        weight("asset_triggered__2026-01-05", MOST, 6),
        weight("asset_triggered__2026-01-05", 10, 0),
        weight("scheduled__2026-01-05", MOST, 0),
        weight("manual__2026-01-05", 20, 0),
        weight("scheduled__2026-01-05", 10, 6),
        weight("scheduled__2026-01-05", 10, 0),
    ]
    assert order == sorted(order, reverse=True)
    assert len(set(order)) == len(order)
    assert order[0] < BEFORE_TRAININGS


@pytest.mark.parametrize(
    ("first", "others", "days"), [("scheduled", "scheduled", 11), ("scheduled", "asset_triggered", 31)]
)
def test_no_run_waits_for_ever_while_others_with_priority_come(first, others, days):
    """Of more trainings than the plant has places for."""
    waiting = weight(f"{first}__2026-01-05T08:00:00+00:00", 1, 0)
    begins = datetime(2026, 1, 5, 8, tzinfo=UTC) + timedelta(days=1)
    assert weight(f"{others}__{begins.isoformat()}_hD3x_k", MOST, 6) > waiting
    begins += timedelta(days=days)
    assert weight(f"{others}__{begins.isoformat()}_hD3x_k", MOST, 6) < waiting


def test_an_id_of_a_persons_own_waits_from_now():
    now = weight(f"manual__{datetime.now(UTC).isoformat()}", 10, 0)
    assert abs(weight("mine__again", 10, 0) - now) <= 1
    far = weight("scheduled__2080-01-01T00:00:00+00:00", 10, 0)
    assert far > -(2**31), "Airflow's column"


def test_trainings_leave_a_place_to_releases():
    assert Settings().training_slots == 3
    assert Settings(trainings_at_once=8).training_slots == 8
    celery = Settings(
        celery_broker_url="redis://redis", airflow_database_url="postgresql+psycopg://db/airflow"
    )
    assert celery.training_slots == -1


@pytest.mark.server
@pytest.mark.timeout(900)
def test_airflow_knows_the_turn_and_the_pool(airflow):
    assert airflow.call("admin", "GET", "/api/v2/pools/trainings").json()["slots"] == 3
    started = airflow.call("olga", "POST", "/api/v2/dags/train_mx1/dagRuns", {"logical_date": None})
    assert started.status_code == 200, started.text
    of_run = f"/api/v2/dags/train_mx1/dagRuns/{started.json()['dag_run_id']}/taskInstances"
    (task,) = airflow.until(lambda: airflow.call("vic", "GET", of_run).json()["task_instances"], "its task")
    run = started.json()["dag_run_id"]
    assert (task["priority_weight"], task["pool"]) == (weight(run, 20, 0), "trainings")
    assert weight(run, 20, 0) == weight(f"manual__{started.json()['run_after']}", 20, 0)


@pytest.mark.server
@pytest.mark.timeout(900)
def test_a_run_is_started_although_another_part_of_airflow_writes_for_long(airflow):
    """Of a hundred runs that were started at once on a busy machine some were answered with a 500."""
    with (
        closing(
            sqlite3.connect(airflow.settings.airflow_dir / "airflow.db", 120, isolation_level=None)
        ) as writer,
        ThreadPoolExecutor(1) as clients,
    ):
        writer.execute("BEGIN IMMEDIATE")
        runs = "/api/v2/dags/train_mx1/dagRuns"
        answer = clients.submit(airflow.call, "olga", "POST", runs, {"logical_date": None})
        wait([answer], LONGER_THAN_SQLITES_DEFAULT)
        assert not answer.done()
        writer.execute("ROLLBACK")
        assert answer.result().status_code == 200, answer.result().text
