"""Serving machines that write nonsense, die at work or lose their servers, and a database that lost its last change."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from machines.plant import BODY, LEASE, MODEL, Plant, route, running, version
from serving_stack import until
from sqlalchemy import create_engine, text

from perennial.adapters.bentoml.pool import BentoPool
from perennial.adapters.sql.database import Database
from perennial.adapters.sql.machines.desk import SqlDesk
from perennial.adapters.sql.machines.machines import SqlMachines
from perennial.adapters.sql.machines.pool import SqlProbe
from perennial.adapters.sql.rights import statements
from perennial.core.governance.database_use import DatabaseUse
from perennial.core.machine import Call, CallName, MachineReport, WantedKind
from perennial.errors import ModelFileError, RouterUnavailable, ToolError, UsageError
from perennial.serving import desired_state
from perennial.serving.desired_state import DesiredState, DesiredVersion
from perennial.serving.signed_files import TrustedKeys


@pytest.fixture
def plant(tmp_path) -> Iterator[Plant]:
    with running(tmp_path) as made:
        yield made


def test_a_machine_without_model_servers_keeps_no_rollback_from_the_others(plant):
    plant.pools["b"].reachable["stable"] = 0
    readiness = plant.pool.readiness("stable", MODEL, version(1).digest)
    assert (readiness.ready, readiness.total, readiness.complete) == (2, 4, False)
    assert SqlProbe(plant.machines).infer("stable", MODEL, version(1).digest, BODY) == ""
    for pool in plant.pools.values():
        pool.reachable["stable"] = 0
    assert plant.pool.readiness("stable", MODEL, version(1).digest).ready == 0
    assert "not loaded" in SqlProbe(plant.machines).infer("stable", MODEL, version(1).digest, BODY)


@pytest.mark.parametrize("change", ["body = '{\"newer\": 1}'", "seen_us = seen_us + 3600000000"])
def test_a_machine_with_a_report_that_means_nothing_keeps_no_other_from_a_change(plant, change):
    plant.router.apply(route(1))
    plant.kill("b")
    plant.say(f"UPDATE perennial_machine SET {change} WHERE machine = 'b'")  # noqa: S608 ours
    assert {machine.name: machine.is_live for machine in plant.machines.all()} == {"a": True, "b": False}
    plant.router.apply(route(2))
    assert plant.routers["a"].route(MODEL) == route(2)


def test_what_cannot_be_read_costs_no_other_machine(plant, caplog):
    plant.router.apply(route(1))
    for router in plant.routers.values():
        router.answered(MODEL, "backup", 3)
    plant.stop("b")
    SqlDesk(plant.database, "b").report(MachineReport(servers={}))
    told = threading.Thread(target=answer_nonsense, args=(SqlDesk(plant.database, "b"),))
    told.start()
    assert plant.router.backups() == {MODEL: 3}
    told.join()
    plant.say("INSERT INTO perennial_machine_counters VALUES ('b', 'm', 'nonsense') "
              "ON CONFLICT (machine, model) DO UPDATE SET body = 'nonsense'")  # fmt: skip
    plant.stop("a")
    plant.start("a")
    plant.machines.forget("b")
    assert plant.router.counters(MODEL)["backup"].requests == 3, "those of a"
    assert "the stored counters of b for m: cannot be read" in caplog.text


def answer_nonsense(desk: SqlDesk) -> None:
    until(lambda: desk.calls(), 60, "a call")
    (number,) = desk.calls()
    with desk._database.writing() as connection:
        connection.execute(
            text("UPDATE perennial_machine_call SET answer = '{}' WHERE id = :id"), {"id": number}
        )


def test_machines_follow_a_database_that_has_lost_its_last_change(plant):
    plant.router.apply(route(1))
    earlier = plant.wanted.find(WantedKind.ROUTE, MODEL)
    plant.router.apply(route(2))
    with plant.database.writing() as connection:
        connection.execute(
            text("UPDATE perennial_wanted SET body = :body WHERE kind = 'route'"), {"body": earlier.body}
        )
        connection.execute(
            text("UPDATE perennial_wanted SET generation = :generation WHERE kind IN ('', 'route')"),
            {"generation": earlier.generation},
        )
    for router in plant.routers.values():
        until(lambda router=router: router.route(MODEL) == route(1), 60, "the route that is wanted again")
    until(lambda: reported(plant) == {earlier.generation}, 60, "their reports")
    plant.router.apply(route(3))
    assert [router.route(MODEL) for router in plant.routers.values()] == [route(3)] * 2


def reported(plant: Plant) -> set[int]:
    return {machine.report.applied[WantedKind.ROUTE].generation for machine in plant.machines.all()}


def test_a_machine_confirms_nothing_after_an_outage_until_it_has_looked(plant, monkeypatch):
    """The database that is back may have lost changes and have others in their place."""
    plant.router.apply(route(1))
    looked = SqlDesk.wanted_after
    away = threading.Event()
    away.set()

    def wanted_after(self: SqlDesk, generation: int):
        if away.is_set():
            raise RouterUnavailable("the database is away", hint="")
        return looked(self, generation)

    monkeypatch.setattr(SqlDesk, "wanted_after", wanted_after)
    wanted = plant.wanted.find(WantedKind.ROUTE, MODEL)
    applied = lambda: [machine.applied(wanted) for machine in plant.machines.all()]  # noqa: E731
    until(lambda: applied() == [False, False], 60, "doubt")
    with plant.database.writing() as connection:  # with the same generation
        connection.execute(text("UPDATE perennial_wanted SET body = :body WHERE kind = 'route'"),
                           {"body": route(2).model_dump_json()})  # fmt: skip
    away.clear()
    until(lambda: applied() == [True, True], 60, "confirmation")
    assert [router.route(MODEL) for router in plant.routers.values()] == [route(2)] * 2


@pytest.mark.server
def test_nothing_waits_for_the_transaction_of_a_machine_that_died_in_it(postgres):
    """PostgreSQL notices that a machine lost its power only when TCP does."""
    database = Database(postgres)
    machines = SqlMachines(database, LEASE)
    SqlDesk(database, "dead").report(MachineReport())
    asking = threading.Thread(target=machines.ask, args=(Call(name=CallName.PROBLEMS), ["dead"]), daemon=True)
    asking.start()
    engine = create_engine(postgres)
    with engine.connect() as dead:
        held = "UPDATE perennial_machine_call SET answer = '' WHERE machine = 'dead'"
        until(lambda: dead.execute(text(held)).rowcount == 1, 60, "a call")
        with database.writing() as connection:
            connection.execute(text("UPDATE perennial_machine SET seen_us = 0 WHERE machine = 'dead'"))
        asking.join(60)
        assert not asking.is_alive()
    engine.dispose()
    machines.forget("dead")


@pytest.mark.parametrize("change", ["damaged", "lost", "changed"])
def test_routes_that_are_damaged_on_a_machine_are_written_again_and_refuse_no_change(plant, change):
    """All at once: while one model is written, the others must not leave Envoy."""
    other = route(1, model="other")
    plant.hold(version(1), version(2), version(1).model_copy(update={"model": "other"}))
    plant.router.apply(route(1))
    plant.router.apply(other)
    router = plant.routers["b"]
    until(lambda: len(router.routes()) == 2, 60, "both routes")
    router.sizes.clear()
    match change:
        case "damaged":
            router.damaged = True
        case "lost":
            router._routes.clear()
        case "changed":
            router._routes[MODEL] = route(9)
    until(
        lambda: not router.damaged and router.routes() == {MODEL: route(1), "other": other}, 60, "them again"
    )
    assert set(router.sizes) == {2}
    router.damaged = change == "damaged"
    plant.router.apply(route(2))
    until(lambda: router.routes().get(MODEL) == route(2), 60, "the change")
    assert router.routes()["other"] == other


def test_a_pool_file_that_is_damaged_is_written_again_from_what_is_wanted(tmp_path):
    pool = BentoPool(tmp_path, "127.0.0.1", {"stable": ()}, TrustedKeys(tmp_path / "trusted"))
    file = desired_state.state_file(tmp_path, "stable")
    file.parent.mkdir()
    desired_state.write(file, DesiredState().with_version(DesiredVersion.of(version(1))))
    pool.hold("stable", DesiredState(), lambda wanted, folder: None, stay=[(MODEL, version(1).digest)])
    assert pool.held("stable") == [(MODEL, version(1).digest)], "a route here still names it"
    file.write_text("{")
    with pytest.raises(ModelFileError):
        pool.held("stable")
    pool.hold("stable", DesiredState(), lambda wanted, folder: None)
    assert (pool.held("stable"), file.with_suffix(".damaged").read_text()) == ([], "{")


def test_a_full_disk_keeps_no_other_change_of_a_pool_from_its_servers(tmp_path):
    pool = BentoPool(tmp_path, "127.0.0.1", {"stable": ()}, TrustedKeys(tmp_path / "trusted"))
    file = desired_state.state_file(tmp_path, "stable")
    file.parent.mkdir()
    desired_state.write(file, DesiredState().with_version(DesiredVersion.of(version(1))))

    def full(wanted: DesiredVersion, folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(ToolError, match=r"m 222222222222: .*No space left"):
        pool.hold("stable", DesiredState().with_version(DesiredVersion.of(version(2))), full)
    assert desired_state.read(file).models == ()


def test_every_role_at_once_is_no_machine():
    with pytest.raises(UsageError, match="'public'"):
        list(statements("public", DatabaseUse.MACHINE, "perennial", "public"))
