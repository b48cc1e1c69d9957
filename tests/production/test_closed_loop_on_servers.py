"""The closed loop on real servers and over two serving machines, each with its Envoy, two model servers and an agent,
under constant traffic at both doors, while each server is killed and brought back."""

from __future__ import annotations

import configparser
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from backends.clients import ANSWERS, Client, Kills
from backends.plant import CYCLES, MACHINES, MODEL, RELEASE, TRAIN, Plant
from backends.servers import PASSWORDS, SECRET
from machines.serving_machine import ServingMachine

from perennial.core.events import Event
from perennial.core.release.phase import Phase
from perennial.core.release.status import IntentKind, ReleaseStatus
from perennial.core.release.traffic import Counters, PoolName
from perennial.demo.approver import approve
from perennial.errors import ToolError
from perennial.local import supervisord
from perennial.wiring import releasing, versions

pytestmark = [pytest.mark.production, pytest.mark.timeout(3600)]
BY_ENTITY, BY_TENSOR = "by entity", "by tensor"
KINDS = (BY_ENTITY, BY_TENSOR)
PAUSE = 0.2
"""Seconds between two requests of a client."""
NARROW = 5
"""Tests that the clients ask for: so few that the window of predictions differs from what the model has learnt."""


@dataclass
class Loop:
    """A running plant with a first champion, and two clients at the door of each serving machine.

    Attributes:
        of_candidate: what the candidate answered in the step of the canary in which servers were killed.
    """

    plant: Plant
    kills: Kills
    of_candidate: Counters = field(default_factory=Counters)

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
        context = {"cycle_size": 40, "requested_at": 1.75e9}
        rows = {"entities": plant.entities(NARROW), "context": context, "allow_unknown": True}
        tensor = {"name": "features", "shape": [1, 17], "datatype": "FP32", "data": [0.25] * 17}
        asked = {
            BY_ENTITY: (f"/v1/models/{MODEL}/predict", rows),
            BY_TENSOR: (f"/v2/models/{MODEL}/infer", {"inputs": [tensor]}),
        }
        clients = tuple(
            Client(int(machine.port), *asked[kind], 1, PAUSE, name=named(kind, machine.name))
            for kind in KINDS
            for machine in plant.machines
        )
        with ExitStack() as stack:
            for client in clients:
                stack.enter_context(client)
            yield Loop(plant, Kills(clients))
    finally:
        plant.stop()


def named(kind: str, machine: str) -> str:
    """Return the name of the client of a kind at the door of a machine."""
    return f"{kind}, {machine}"


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


def process_of(machine: str, name: str) -> str:
    """Return how the table names a process of a machine: `canary server of serving_b`."""
    kind, _, rest = name.partition("-")
    title = f"{rest.partition('-')[0]} server" if kind == "server" else kind.replace("envoy", "Envoy")
    return f"{title} of {machine}"


@contextmanager
def killed(kills: Kills, machine: ServingMachine, name: str, when: str) -> Iterator[None]:
    """Kill a process of a serving machine and start it again; the block waits for what depends on it."""
    with kills.of(process_of(machine.name, name), when):
        machine.kill(name)
        machine.revive(name)
        yield


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

    def counted() -> Counters | None:
        """Return what the candidate has answered in the canary, once each machine has counted some of it."""
        if (status := reached(Phase.CANARY)) is None:
            return None
        counts = status.counted.get(PoolName.CANARY, Counters())
        on_both = {name for name, part in counts.parts.items() if part.requests} == set(MACHINES)
        return counts if on_both else None

    # First: on a busy machine a step of the canary ends with its second pass.
    plant.say(plant.until(lambda: reached(Phase.CANARY), "the canary"), IntentKind.PAUSE)
    plant.until(lambda: plant.release().pauses, "the pause")
    loop.of_candidate = plant.until(counted, "answers of the candidate on both machines")
    with kills.of("PostgreSQL", "release: canary"):
        databases.kill()
        refused(plant, 56, "release", "status", MODEL)
        databases.revive()
    with kills.of("MLflow", "release: canary"):
        plant.kill("mlflow")
    first_machine, second_machine = plant.machines
    with killed(kills, second_machine, second_machine.server("canary"), "release: canary"):
        plant.wait_servers()
    with kills.of("Redis", "release: canary"):
        redis.kill()
        refused(plant, 57, "features", "show", MODEL, *entity(plant))
        redis.revive()
    with killed(kills, first_machine, "envoy", "release: canary"):
        pass
    with killed(kills, second_machine, "agent", "release: canary"):
        pass
    plant.until(lambda: reached(Phase.CANARY), "the canary, still")
    with kills.of("S3", "release: last steps, promotion"):  # where the machines get what they shall serve
        bucket.kill()
        plant.say(plant.release(), IntentKind.RESUME)
        for client in loop.clients:
            client.wait_answers(5 * ANSWERS)
        bucket.revive()
        status = plant.until(lambda: reached(Phase.SUCCEEDED), "the promotion")
    # Until now no version could stand in for the champion on this machine, which has one stable server.
    with killed(kills, first_machine, first_machine.server("stable"), "after the release"):
        plant.wait_servers()
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
    plant = loop.plant
    shown = {
        name: plant.until(lambda name=name: plant.shown(name), name)
        for name in supervisord.states(plant.settings)
    }
    for machine in plant.machines:
        shown |= {f"{name} of {machine.name}": text for name, text in machine.shown().items()}
    for name, text in shown.items():
        assert not [word for word in secrets if word in text], name


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
    first, second = MACHINES
    clients = {client.name: client for client in loop.clients}
    for what in ("PostgreSQL", "S3", "MLflow", "worker of `training`", f"agent of {second}"):
        assert not [name for name in clients if kills.failed(what, name)], what
    for pool, machine, other in (("stable", first, second), ("canary", second, first)):
        for kind in KINDS:  # what a client has begun to get nobody can ask for again
            here = clients[named(kind, machine)]
            assert kills.failed(f"{pool} server of {machine}", here.name).total() <= here.cut
            assert not kills.failed(f"{pool} server of {machine}", named(kind, other))
    for kind in KINDS:
        assert set(kills.failed(f"Envoy of {first}", named(kind, first))) <= {"0"}
        assert not kills.failed(f"Envoy of {first}", named(kind, second))
    for machine in MACHINES:
        assert set(kills.failed("Redis", named(BY_ENTITY, machine))) == {"503"}
        assert not kills.failed("Redis", named(BY_TENSOR, machine))
    # No request failed that no kill explains.
    seen = {name: sum((row[2][name] for row in kills.rows), Counter()) for name in clients}
    assert seen == {name: client.refused for name, client in clients.items()}


def test_the_verdict_counts_the_answers_of_both_machines(loop, released):
    parts = loop.of_candidate.parts
    assert parts.keys() == set(MACHINES)
    assert min(part.requests for part in parts.values()) > 0
    assert loop.of_candidate.requests == sum(part.requests for part in parts.values())


def test_no_answer_is_missing_in_the_log_that_lies_in_s3(loop, released, bucket):
    plant, later = loop.plant, datetime.now(UTC) + timedelta(days=3)
    for client in loop.clients:  # from here on nobody writes to the log, whose hours count as ended
        client.__exit__()
    answered = {name for client in loop.clients for name in client.ids}
    assert len(answered) > 100
    logged = releasing.prediction_log(plant.settings)
    plant.until(
        lambda: answered <= set(logged.read(MODEL)["prediction_id"]),
        "what the machines have sent of their log",
    )
    releasing.prediction_archive(plant.settings).tidy(MODEL, later, None)
    upload = releasing.segment_upload(plant.settings)
    bucket.kill()
    with pytest.raises(ToolError, match=plant.settings.log_bucket):
        upload.run(MODEL, later, None)
    bucket.revive()
    assert upload.run(MODEL, later, None).removed_here > 0
    assert bucket.keys("log/")
    from_bucket = releasing.prediction_log(plant.settings).read(MODEL)
    assert answered <= set(from_bucket["prediction_id"])
