"""Airflow with its records in PostgreSQL and a Celery worker per queue, by settings alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from backends.airflow_workers import AirflowWorkers
from backends.servers import PASSWORDS

from perennial.local import supervisord

pytestmark = [pytest.mark.production, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def airflow_workers(databases, redis, tmp_path_factory):
    stack = AirflowWorkers(tmp_path_factory.mktemp("plant"), databases.address("airflow"), redis.address)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


def test_each_queue_has_its_worker_with_its_own_secrets(airflow_workers):
    airflow_workers.wait_success("queues", airflow_workers.run("queues"))
    for task, queue in (("training", "training"), ("light", "light"), ("unnamed", "light")):
        accounts = Path((airflow_workers.folder / f"{task}.txt").read_text().strip())
        assert accounts.parent.name == f"airflow-worker-{queue}", task


def test_no_process_shows_the_addresses(airflow_workers):
    for name, state in supervisord.states(airflow_workers.settings).items():
        shown = Path(f"/proc/{state['pid']}/cmdline").read_bytes()
        shown += Path(f"/proc/{state['pid']}/environ").read_bytes()
        assert b"postgresql" not in shown, name
        assert PASSWORDS["airflow"].encode() not in shown, name
        assert b"redis://" not in shown, name


def test_a_worker_that_is_killed_is_there_again_and_so_is_its_task(airflow_workers):
    run = airflow_workers.run("long")
    airflow_workers.until((airflow_workers.folder / "begun").is_dir, "the task")
    airflow_workers.kill("airflow-worker-training")
    airflow_workers.wait_success("long", run)
    assert (airflow_workers.folder / "again").is_file()


@pytest.mark.parametrize("server", ["redis", "databases"])
def test_a_server_that_goes_and_comes_back_loses_no_task(airflow_workers, server, request):
    backend = request.getfixturevalue(server)
    before = airflow_workers.run("queues")  # its tasks may be anywhere on their way
    backend.kill()
    if server == "redis":  # Airflow itself takes requests meanwhile
        meanwhile = airflow_workers.run("queues")
    backend.revive()
    airflow_workers.wait_success("queues", before)
    if server == "redis":
        airflow_workers.wait_success("queues", meanwhile)
    airflow_workers.wait_ready()
    airflow_workers.wait_success("queues", airflow_workers.run("queues"))
