"""The closed loop on real servers, under constant traffic, while each of them is killed and brought back."""

from __future__ import annotations

import configparser
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from backends.clients import Client, Kills
from backends.plant import CYCLES, MODEL, RELEASE, TRAIN, Plant
from backends.servers import PASSWORDS, SECRET

from perennial.core.events import Event
from perennial.core.release.phase import Phase
from perennial.core.release.status import IntentKind, ReleaseStatus
from perennial.demo.approver import approve
from perennial.errors import ToolError
from perennial.local import supervisord
from perennial.wiring import releasing, versions

pytestmark = [pytest.mark.production, pytest.mark.timeout(3600)]
BY_ENTITY, BY_TENSOR = "by entity", "by tensor"
NARROW = 5
"""Tests that the clients ask for: so few that the window of predictions differs from what the model has learnt."""


@dataclass
class Loop:
    """A running plant with a first champion, and its clients."""

    plant: Plant
    kills: Kills

    @property
    def clients(self) -> tuple[Client, ...]:
        return self.kills.clients


@pytest.fixture(scope="module")
def loop(databases, redis, bucket, tmp_path_factory) -> Iterator[Loop]:
    """The first version is trained and released on the command line; then the clients begin."""
    plant = Plant(tmp_path_factory.mktemp("loop") / "plant", databases, redis, bucket)
    try:
        plant.start()
        plant.run("run", MODEL)
        plant.run("release", "start", MODEL)
        approve(plant.settings, plant.release().candidate)
        plant.run("release", "reconcile", MODEL, "--until-final")
        assert plant.release().phase is Phase.SUCCEEDED, plant.release().note
        plant.add_cycles(CYCLES)
        port, context = plant.settings.port_envoy, {"cycle_size": 40, "requested_at": 1.75e9}
        rows = {"entities": plant.entities(NARROW), "context": context, "allow_unknown": True}
        tensor = {"name": "features", "shape": [1, 17], "datatype": "FP32", "data": [0.25] * 17}
        by_entity = Client(port, f"/v1/models/{MODEL}/predict", rows, 1, 0.1, name=BY_ENTITY)
        by_tensor = Client(port, f"/v2/models/{MODEL}/infer", {"inputs": [tensor]}, 1, 0.1, name=BY_TENSOR)
        with by_entity, by_tensor:
            yield Loop(plant, Kills((by_entity, by_tensor)))
    finally:
        plant.stop()


def refused(plant: Plant, code: int, *line: str) -> None:
    """Give a command that needs what is away: it ends with its code and says what is wrong, in two lines."""
    done = plant.ask(*line)
    assert done.returncode == code, f"{line}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    assert "\n  -> " in done.stderr
    assert not [word for word in (*PASSWORDS.values(), ":word@") if word in done.stdout + done.stderr]


@pytest.fixture(scope="module")
def retrained(loop, databases, redis, bucket) -> str:
    """The monitor asks for a training; each server is killed in a step that needs it. Returns the DAG run."""
    plant, kills = loop.plant, loop.kills
    log = releasing.prediction_log(plant.settings)

    def alarmed() -> list[dict[str, Any]]:
        """Label every answer, half of them as wrong, as a CI system does; return the runs that were asked for."""
        drawn = {
            name: float(sha256(name.encode()).digest()[0] % 2) for name in log.read(MODEL)["prediction_id"]
        }
        plant.store.feedback.put(drawn, datetime.now(UTC), "ci")
        return plant.airflow.runs(TRAIN)

    run = plant.until(alarmed, "the monitor's alarm")[0]["dag_run_id"]

    def state(task: str) -> str:
        return plant.airflow.tasks(TRAIN, run)[task]

    def running(task: str) -> None:
        plant.until(lambda: state(task) in ("running", "success"), f"the begin of {task}")

    def met(task: str) -> None:
        """Wait until a task has ended, or has failed once."""
        plant.until(lambda: state(task) in ("up_for_retry", "success"), f"the first try of {task}")

    running("validate")
    with kills.of("Redis", "training: validate"):
        redis.kill()
        refused(plant, 57, "features", "show", MODEL, *entity(plant))
        met("validate")
        redis.revive()
    running("train")
    with kills.of("S3", "training: train"):
        bucket.kill()
        met("train")
        bucket.revive()
    running("evaluate")
    with kills.of("worker of `training`", "training: evaluate"):
        plant.kill("airflow-worker-training")
    running("register")
    with kills.of("PostgreSQL", "training: register"):
        databases.kill()
        refused(plant, 56, "release", "status", MODEL)
        refused(plant, 51, "models", "show", MODEL)
        databases.revive()
    plant.until(lambda: state("offer") == "success", "the training")
    return run


def entity(plant: Plant) -> list[str]:
    (row,) = plant.entities(1)
    keys = [word for name, value in row.items() for word in ("--entity", f"{name}={value}")]
    return [*keys, "--request", "cycle_size=40"]


@pytest.fixture(scope="module")
def released(loop, retrained, databases, redis, bucket) -> ReleaseStatus:
    """The release of that training, with kills before it is approved and in its canary."""
    plant, kills = loop.plant, loop.kills
    first = plant.store.releases.latest(MODEL)[-1]

    def reached(*phases: Phase) -> ReleaseStatus | None:
        status = plant.release()
        if status.release_id == first.release_id:
            return None
        assert status.phase in phases or not status.phase.is_final(), f"{status.note}; {status.evidence}"
        return status if status.phase in phases else None

    waiting = plant.until(lambda: reached(Phase.AWAITING_APPROVAL), "the gate")
    with kills.of("MLflow", "release: approval"):
        plant.kill("mlflow")
        plant.until(lambda: approve(plant.settings, waiting.candidate), "MLflow")
    status = plant.until(lambda: reached(Phase.CANARY), "the canary")
    plant.say(status, IntentKind.PAUSE)
    plant.until(lambda: plant.release().pauses, "the pause")
    with kills.of("PostgreSQL", "release: canary"):
        databases.kill()
        refused(plant, 56, "release", "status", MODEL)
        databases.revive()
    with kills.of("MLflow", "release: canary"):
        plant.kill("mlflow")
    for pool in ("stable", "canary"):
        with kills.of("model server", f"release: canary, pool {pool}"):
            plant.kill(f"server-{pool}-{plant.settings.ports(pool)[0]}")
            plant.wait_servers()
    with kills.of("Redis", "release: canary"):
        redis.kill()
        refused(plant, 57, "features", "show", MODEL, *entity(plant))
        redis.revive()
    with kills.of("Envoy", "release: canary"):
        plant.kill("envoy")
    plant.until(lambda: reached(Phase.CANARY), "the canary, still")
    with kills.of("S3", "release: last steps, promotion"):
        bucket.kill()
        plant.say(plant.release(), IntentKind.RESUME)
        status = plant.until(lambda: reached(Phase.SUCCEEDED), "the promotion")
        bucket.revive()
    return status


def test_a_training_that_the_monitor_asked_for_outlives_each_server(loop, retrained):
    run = next(run for run in loop.plant.airflow.runs(TRAIN) if run["dag_run_id"] == retrained)
    assert run["run_type"] == "asset_triggered"
    assert set(loop.plant.tasks().values()) == {"success"}
    asked = [
        row.entry for row in loop.plant.store.ledger.rows(MODEL) if row.entry.kind == Event.RETRAIN_REQUESTED
    ]
    assert len(asked) == 1


def test_each_queue_has_its_worker_with_its_own_secrets(loop, retrained):
    plant = loop.plant
    path = f"/api/v2/dags/{TRAIN}/dagRuns/{retrained}/taskInstances"
    queues = {task["task_id"]: task["queue"] for task in plant.airflow.get(path)["task_instances"]}
    assert queues.pop("why") == "light"
    assert set(queues.values()) == {"training"}
    handed = configparser.ConfigParser(interpolation=None)  # Celery overwrites what /proc shows of a worker
    handed.read(plant.settings.state / "supervisord.conf")
    for queue in ("training", "light"):
        accounts = f"/airflow-worker-{queue}/accounts.json"
        assert accounts in handed[f"program:airflow-worker-{queue}"]["environment"]
    default = 'AIRFLOW__OPERATORS__DEFAULT_QUEUE="light"'
    assert default in handed["program:airflow-scheduler"]["environment"]


def test_no_process_shows_an_address_or_a_key(loop, retrained):
    secrets = (b"postgresql", b"redis://", SECRET.encode(), *(word.encode() for word in PASSWORDS.values()))
    for name in supervisord.states(loop.plant.settings):
        shown = loop.plant.until(lambda name=name: loop.plant.shown(name), name)
        assert not [word for word in secrets if word in shown], name


def test_its_release_ends_as_if_nothing_had_been_killed(loop, released):
    plant = loop.plant
    record = versions.registry(plant.settings).find(MODEL, "champion")
    assert record.ref.digest == released.candidate.digest
    assert record.tags["reason"] == "accuracy"
    assert releasing.router(plant.settings).route(MODEL).stable.digest == released.candidate.digest
    run = plant.airflow.runs(RELEASE)[0]["dag_run_id"]
    plant.until(
        lambda: set(plant.airflow.tasks(RELEASE, run).values()) == {"success"}, "the run of the release"
    )
    assert "the chain holds" in plant.run("ledger", "verify")


def test_only_who_needs_what_was_killed_has_noticed(loop, released):
    kills = loop.kills
    print(kills.table())
    for what in ("PostgreSQL", "S3", "MLflow", "worker of `training`"):
        for client in (BY_ENTITY, BY_TENSOR):
            assert not kills.failed(what, client), what
    for client in loop.clients:  # what a client has begun to get nobody can ask for again
        assert kills.failed("model server", client.name).total() <= client.cut
    assert set(kills.failed("Redis", BY_ENTITY)) == {"503"}
    assert not kills.failed("Redis", BY_TENSOR)


def test_no_answer_is_missing_in_the_log_that_lies_in_s3(loop, released, bucket):
    plant, later = loop.plant, datetime.now(UTC) + timedelta(days=3)
    for client in loop.clients:  # from here on nobody writes to the log, whose hours count as ended
        client.__exit__()
    answered = {name for client in loop.clients for name in client.ids}
    assert len(answered) > 100
    releasing.prediction_archive(plant.settings).tidy(MODEL, later, None)
    upload = releasing.segment_upload(plant.settings)
    bucket.kill()
    with pytest.raises(ToolError, match=plant.settings.log_bucket):
        upload.run(MODEL, later, None)
    bucket.revive()
    assert upload.run(MODEL, later, None).removed_here > 0
    assert bucket.keys("log/")
    logged = releasing.prediction_log(plant.settings).read(MODEL)
    assert answered <= set(logged["prediction_id"])
