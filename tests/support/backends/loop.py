"""The closed loop of a plant under constant traffic, with a kill of each server in a step that needs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import pytest
from backends.clients import ANSWERS, Client, Kills
from backends.plant import CYCLES, MACHINES, MODEL, TRAIN, Plant
from backends.servers import PASSWORDS, S3, Postgres, Redis
from machines.serving_machine import ServingMachine

from perennial.core.release.phase import Phase
from perennial.core.release.status import IntentKind, ReleaseStatus
from perennial.core.release.traffic import Counters, PoolName
from perennial.demo.approver import approve
from perennial.errors import RouterUnavailable, StoreUnavailable
from perennial.wiring import releasing, traffic

BY_ENTITY, BY_TENSOR = KINDS = ("by entity", "by tensor")
TENSOR_PATH = f"/v2/models/{MODEL}/infer"
TENSOR_BODY = {"inputs": [{"name": "features", "shape": [1, 17], "datatype": "FP32", "data": [0.25] * 17}]}
PAUSE = 0.2
"""Seconds between two requests of a client."""
NARROW = 5
"""Tests that the clients ask for: so few that the window of predictions differs from what the model has learnt."""


@dataclass
class Servers:
    """The backends, each of which is killed."""

    databases: Postgres
    redis: Redis
    bucket: S3


@dataclass
class Loop:
    """A running plant with a first champion, and two clients at the door of each serving machine.

    Attributes:
        of_candidate: what the candidate answered in the step of the canary in which servers were killed.
    """

    plant: Plant
    servers: Servers
    kills: Kills
    of_candidate: Counters = field(default_factory=Counters)

    @property
    def clients(self) -> tuple[Client, ...]:
        return self.kills.clients


@contextmanager
def running(plant: Plant, servers: Servers) -> Iterator[Loop]:
    """Train and release the first version on the command line; then the clients begin."""
    plant.start()
    plant.run("run", MODEL)
    plant.run("release", "start", MODEL)
    approve(plant.settings, plant.release().candidate)
    plant.run("release", "reconcile", MODEL, "--until-final")
    assert plant.release().phase is Phase.SUCCEEDED, plant.release().note
    plant.add_cycles(CYCLES)
    context = {"cycle_size": 40, "requested_at": 1.75e9}
    rows = {"entities": plant.entities(NARROW), "context": context, "allow_unknown": True}
    asked = {BY_ENTITY: (f"/v1/models/{MODEL}/predict", rows), BY_TENSOR: (TENSOR_PATH, TENSOR_BODY)}
    clients = tuple(
        Client(int(machine.port), *asked[kind], 1, PAUSE, name=named(kind, machine.name))
        for kind in KINDS
        for machine in plant.machines
    )
    with ExitStack() as stack:
        for client in clients:
            stack.enter_context(client)
        yield Loop(plant, servers, Kills(clients))


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


def retrain(loop: Loop) -> str:
    """Wait until the monitor asks for a training; kill a server in each of its steps. Returns the DAG run."""
    plant, kills, servers = loop.plant, loop.kills, loop.servers
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
        servers.redis.kill()
        refused(plant, 57, "features", "show", MODEL, *entity(plant))
        met("validate")
        servers.redis.revive()
    running("train")
    with kills.of("S3", "training: train"):
        servers.bucket.kill()
        met("train")
        servers.bucket.revive()
    running("evaluate")
    with kills.of("worker of `training`", "training: evaluate"):
        plant.trainer.kill()
        plant.trainer.up()
    running("register")
    with kills.of("PostgreSQL", "training: register"):
        servers.databases.kill()
        refused(plant, 56, "release", "status", MODEL)
        refused(plant, 51, "models", "show", MODEL)
        servers.databases.revive()
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


def release(loop: Loop) -> ReleaseStatus:
    """Approve the release of that training; kill servers before that, in its canary and after it."""
    plant, kills, servers = loop.plant, loop.kills, loop.servers
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
    router = traffic.router(plant.settings)
    route = router.route(MODEL)
    with kills.of("PostgreSQL", "release: canary"):
        servers.databases.kill()
        refused(plant, 56, "release", "status", MODEL)
        with pytest.raises((RouterUnavailable, StoreUnavailable)):
            router.apply(route)
        servers.databases.revive()
    with kills.of("MLflow", "release: canary"):
        plant.kill("mlflow")
    first_machine, second_machine = plant.machines
    with killed(kills, second_machine, second_machine.server("canary"), "release: canary"):
        plant.wait_servers()
    with kills.of("Redis", "release: canary"):
        servers.redis.kill()
        refused(plant, 57, "features", "show", MODEL, *entity(plant))
        servers.redis.revive()
    with killed(kills, first_machine, "envoy", "release: canary"):
        pass
    with killed(kills, second_machine, "agent", "release: canary"):
        pass
    plant.until(lambda: reached(Phase.CANARY), "the canary, still")
    with kills.of("S3", "release: last steps, promotion"):  # where the machines get what they shall serve
        servers.bucket.kill()
        plant.say(plant.release(), IntentKind.RESUME)
        for client in loop.clients:
            client.wait_answers(5 * ANSWERS)
        servers.bucket.revive()
        status = plant.until(lambda: reached(Phase.SUCCEEDED), "the promotion")
    # Until now no version could stand in for the champion on this machine, which has one stable server.
    with killed(kills, first_machine, first_machine.server("stable"), "after the release"):
        plant.wait_servers()
    return status
