"""The users of Redis in docs/guide/production.md: each does its work, and nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pandas as pd
import pytest
from backends.servers import GUIDE, Redis
from celery import Celery
from redis import Redis as Client
from redis.exceptions import AuthenticationError, NoPermissionError
from serving_stack import until

from perennial import catalog
from perennial.adapters.feast.features import FeastFeatures
from perennial.errors import FeaturesUnavailable
from perennial.history.prepare import prepare
from perennial.history.schema import conform
from perennial.installation import HERE

pytestmark = [
    pytest.mark.production,
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="no Redis"),
]

KEYS_OF = {"publisher": "entity-perennial", "server": "entity-perennial", "queue": "training"}
REFUSED = (
    "KEYS *", "FLUSHALL", "FLUSHDB", "CONFIG GET *", "CONFIG SET dir /tmp", "ACL LIST", "ACL SETUSER x on",
    "EVAL return(1) 0", "SCRIPT FLUSH", "FUNCTION LIST", "MODULE LIST", "MONITOR", "SAVE",
    "BGREWRITEAOF", "SHUTDOWN NOSAVE", "REPLICAOF 127.0.0.1 1", "SYNC", "CLIENT LIST", "CLIENT KILL 127.0.0.1:1",
    "SLOWLOG GET", "SWAPDB 0 1", "RANDOMKEY", "PUBLISH news text", "GET other", "SET other 1", "DEL other",
    "HMGET other f", "HSET other f 1", "LPUSH other 1", "SUBSCRIBE other", "MIGRATE 127.0.0.1 1 other 0 1",
    "RENAME other another",
)  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Redis]:
    (users,) = re.findall(r"```redis\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    started = Redis(tmp_path_factory.mktemp("redis") / "users", users)
    try:
        yield started
    finally:
        started.kill()


def address(server: Redis, user: str) -> str:
    return f"redis://{user}:{user}-of-the-test@127.0.0.1:{server.port}/0"


def test_nobody_is_anybody(server):
    with (
        Client.from_url(f"redis://127.0.0.1:{server.port}/0") as client,
        pytest.raises(AuthenticationError),
    ):
        client.ping()


@pytest.mark.parametrize("user", sorted(KEYS_OF))
def test_a_user_is_refused_what_is_not_its_work(server, user):
    for command in REFUSED:
        with Client.from_url(address(server, user)) as client, pytest.raises(NoPermissionError):
            client.execute_command(*command.split())
        with Client.from_url(address(server, user)) as client:
            client.ping()


def test_a_server_writes_nothing_to_the_keys_that_it_reads(server):
    with Client.from_url(address(server, "server")) as client:
        assert client.hmget("entity-perennial", "f") == [None]
        for command in (
            "HSET entity-perennial f 1",
            "DEL entity-perennial",
            "EXPIRE entity-perennial 1",
            "SCAN 0",
        ):
            with pytest.raises(NoPermissionError):
                client.execute_command(*command.split())


def test_features_are_published_by_one_and_read_by_the_other(server, tmp_path):
    """Over the shipped views; a publication that takes a view out deletes its keys."""
    at = pd.Timestamp("2025-01-06", tz="UTC")
    runs = [{"execution_id": "1", "suite": "ci", "test_id": "a", "cycle": 1, "started_at": at, "duration_ms": 60_000,
             "verdict": 1, "area": ""}]  # fmt: skip
    views = prepare(conform(pd.DataFrame(runs), "test")).views
    model = catalog.spec("test_failure_predictor")

    def store(user: str) -> FeastFeatures:
        repo, folder = HERE / "feature_repo", tmp_path / "feast"
        return FeastFeatures(repo, folder, lambda: [model], online_store=address(server, user))

    for _ in range(2):
        store("publisher").publish(views)
    asked = {
        "test_id": "a",
        "suite": "ci",
        "cycle_size": 2,
        "requested_at": (at + pd.Timedelta(days=1)).timestamp(),
    }
    (known,) = store("server").online(model.features, [asked])
    assert known["run_count"] == 1
    store("publisher").push(views)
    with pytest.raises(FeaturesUnavailable, match="no permissions"):
        store("server").push(views)


APP = """
from celery import Celery
app = Celery("plant", broker="{broker}")
app.conf.update(task_default_queue="light", task_acks_late=True)
@app.task(name="note")
def note(path):
    open(path, "w").close()
"""


def test_a_worker_of_both_queues_does_its_work_by_the_user_of_the_queue(server, tmp_path):
    """With an answer to `ping`, by which `perennial local up` knows that a worker runs."""
    (tmp_path / "app_of_test.py").write_text(APP.format(broker=address(server, "queue")))
    command = [sys.executable, "-m", "celery", "--app", "app_of_test", "worker", "--pool", "solo",
               "--queues", "light,training", "--hostname", "light@here"]  # fmt: skip
    log = tmp_path / "log"
    with log.open("wb") as output:
        worker = subprocess.Popen(command, cwd=tmp_path, stdout=output, stderr=output)
    try:
        with Celery("plant", broker=address(server, "queue"), set_as_current=False) as app:
            for queue in ("light", "training"):
                app.send_task("note", [str(tmp_path / queue)], queue=queue)
            done = [tmp_path / "light", tmp_path / "training"]
            until(lambda: all(path.exists() for path in done), 180, "the tasks")
            until(lambda: bool(app.control.inspect(timeout=2).ping()), 60, "an answer of the worker")
        assert worker.poll() is None
        assert "NoPermission" not in log.read_text()
    finally:
        worker.kill()
        worker.wait()
