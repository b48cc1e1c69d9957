"""The closed loop on real servers and over two serving machines, each with its Envoy, two model servers and an agent,
under constant traffic at both doors, while each server is killed and brought back."""

from __future__ import annotations

import configparser
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from backends.loop import (
    BY_ENTITY,
    BY_TENSOR,
    KINDS,
    TENSOR_BODY,
    TENSOR_PATH,
    Loop,
    Servers,
    named,
    release,
    retrain,
    running,
)
from backends.plant import MACHINES, MODEL, RELEASE, TRAIN, Plant
from backends.servers import PASSWORDS, SECRET
from load_generator import Load
from serving_stack import status, target, until

from perennial.core.events import Event
from perennial.core.machine import WantedKind
from perennial.core.release.status import ReleaseStatus
from perennial.core.release.traffic import PoolName, Route
from perennial.errors import ToolError
from perennial.flows.release.rollback import rollback
from perennial.local import supervisord
from perennial.wiring import machines, releasing, traffic, versions

pytestmark = [pytest.mark.production, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def loop(databases, redis, bucket, tmp_path_factory) -> Iterator[Loop]:
    plant = Plant(tmp_path_factory.mktemp("loop") / "plant", databases, redis, bucket)
    try:
        with running(plant, Servers(databases, redis, bucket)) as made:
            yield made
    finally:
        plant.stop()


@pytest.fixture(scope="module")
def retrained(loop) -> str:
    """The DAG run of the training that the monitor asked for."""
    return retrain(loop)


@pytest.fixture(scope="module")
def released(loop, retrained) -> ReleaseStatus:
    """The release of what that training made, which has succeeded."""
    return release(loop)


def test_a_training_that_the_monitor_asked_for_outlives_each_server(loop, retrained):
    run = next(run for run in loop.plant.airflow.runs(TRAIN) if run["dag_run_id"] == retrained)
    assert run["run_type"] == "asset_triggered"
    assert set(loop.plant.tasks().values()) == {"success"}
    here = {path.name for path in (loop.plant.settings.state / "work" / MODEL).glob("*/*")}
    assert "examples.parquet" in here
    assert "model" not in here, "another machine has trained"
    asked = [
        row.entry for row in loop.plant.store.ledger.rows(MODEL) if row.entry.kind == Event.RETRAIN_REQUESTED
    ]
    assert len(asked) == 1


def test_each_queue_has_its_worker_with_its_own_secrets(loop, retrained):
    plant = loop.plant
    path = f"/api/v2/dags/{TRAIN}/dagRuns/{retrained}/taskInstances"
    queues = {task["task_id"]: task["queue"] for task in plant.airflow.get(path)["task_instances"]}
    assert queues.pop("why") == "light"
    assert {queues.pop(step) for step in ("prepare", "validate")} == {"light"}, (
        "the data is on the plant's machine"
    )
    assert set(queues.values()) == {"training"}
    assert plant.trainer.accounts_of_worker() == {"training"}
    handed = configparser.ConfigParser(interpolation=None)  # Celery overwrites what /proc shows of a worker
    handed.read(plant.settings.state / "supervisord.conf")
    assert "/airflow-worker-light/accounts.json" in handed["program:airflow-worker-light"]["environment"]
    assert "program:airflow-worker-training" not in handed
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


def test_the_halves_share_no_files(loop, released):
    plant = loop.plant
    assert "LOST" not in plant.run("machines", "list")
    stored = machines.exchange(plant.settings).versions()
    assert stored.keys() == {status.candidate.digest for status in plant.store.releases.latest(MODEL)}
    assert min(version.size for version in stored.values()) > 0
    assert not (plant.settings.serving_dir / "store").exists()
    assert not plant.settings.envoy_dir.exists()
    for machine in plant.machines:
        assert not (machine.folder / "state" / "keys").exists(), "no serving machine can sign"
        assert not (machine.folder / "state" / "accounts.json").exists()


def test_a_rollback_over_both_machines_fails_no_request(loop, released):
    plant, left = loop.plant, released.candidate
    first = plant.store.releases.latest(MODEL)[-1].candidate
    with ExitStack() as stack:
        loads = [stack.enter_context(at_door(machine)) for machine in plant.machines]
        for load in loads:
            until(lambda load=load: load.versions[left.version] > 20, 120, "answers of the champion")
        began = time.monotonic()
        goal, moved = rollback(
            MODEL, None, traffic.rollback_ports(plant.settings), "ann", "", lambda: datetime.now(UTC),
            time.sleep, lambda: uuid4().hex,
        )  # fmt: skip
        returned = time.monotonic()
        assert (goal.digest, moved is not None) == (first.digest, True)
        for load in loads:
            until(
                lambda load=load: stays_away(load, left.version),
                120,
                "no answer of the version that was left",
            )
        last = max(load.last_at[left.version] for load in loads)
        print(f"rollback: returned after {returned - began:.2f} s, last answer after {last - began:.2f} s")
    assert [load.failures for load in loads] == [[], []]
    registry = versions.registry(plant.settings)
    plant.until(lambda: registry.find(MODEL, "champion").ref.digest == first.digest, "the guard's record")


def test_a_machine_that_missed_a_change_of_the_champion_fails_no_request_when_it_is_back(loop, released):
    """It answers with the champion that it knows until its servers have loaded the new one."""
    plant, settings, new = loop.plant, loop.plant.settings, released.candidate
    old = plant.store.releases.latest(MODEL)[-1].candidate
    known, wanted, away = machines.machines(settings), machines.wanted(settings), plant.machines[1]
    pool, router = traffic.pool(settings), traffic.router(settings)

    def replace(ref, before) -> None:
        """Hold a version in the stable pools and the one before in none; its route comes between."""
        pool.ensure(PoolName.STABLE, ref, settings.state / "releases" / "files" / ref.digest)
        until(lambda: pool.readiness(PoolName.STABLE, MODEL, ref.digest).complete, 300, str(ref))
        router.apply(Route(model=MODEL, stable=target(ref, "r3")))
        for name in PoolName:
            pool.drop(name, MODEL, before.digest)

    def applied(machine) -> bool:
        return all(machine.applied(wanted.find(WantedKind.POOL, name)) is True for name in PoolName)

    replace(old, new)
    until(lambda: all(map(applied, known.all())), 300, "both machines without the new version")
    away.leave()
    until(lambda: [machine.name for machine in known.all()] == [MACHINES[0]], 120, "one machine")
    replace(new, old)
    away.up()
    until(lambda: status(f"http://127.0.0.1:{away.port}/v2/models/{MODEL}/ready") == 200, 600, "ready")
    with at_door(away) as load:
        until(lambda: load.versions[new.version] > 20, 300, "the new champion")
        until(lambda: stays_away(load, old.version), 120, "no answer of the one before")
    assert load.failures == []


def at_door(machine) -> Load:
    """Return clients who ask a machine by tensor, without pauses that would hide a gap."""
    return Load(int(machine.port), TENSOR_PATH, TENSOR_BODY, threads=2, pause_s=0.01)


def stays_away(load: Load, version: str) -> bool:
    """Whether none of the next answers is of a version; Envoy's workers take a route over after it is confirmed."""
    before = load.versions[version]
    load.wait_for(20)
    return load.versions[version] == before


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
