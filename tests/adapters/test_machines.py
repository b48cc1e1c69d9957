"""Many serving machines over one database: whom a change waits for, what is added up, and who is recorded as lost."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from machines.plant import (
    BODY,
    MODEL,
    HoldingPool,
    Plant,
    route,
    running,
    unable,
    version,
)
from serving_stack import until

from perennial.adapters.sql.machines.pool import SqlProbe
from perennial.adapters.sql.store import SqlStore
from perennial.core.events import Event
from perennial.core.machine import Applied, Tally, WantedKind
from perennial.core.release.traffic import Assignment, Counters
from perennial.errors import PoolUnavailable, RouterRejected, RouterUnavailable
from perennial.flows.release.machines.watch import MachineWatchPorts, look
from perennial.serving.desired_state import DesiredVersion


@pytest.fixture
def plant(tmp_path) -> Iterator[Plant]:
    with running(tmp_path) as made:
        yield made


def test_a_route_is_live_on_every_machine_when_the_call_returns(plant):
    for number in (1, 2):
        plant.router.apply(route(number))
        assert [router.route(MODEL) for router in plant.routers.values()] == [route(number)] * 2
    assert plant.router.healthy(MODEL) == {"stable": 4, "canary": 2}
    assert plant.pool.readiness("stable", MODEL, version(1).digest).total == 4


def test_a_route_that_one_machine_refuses_goes_back_on_all(plant):
    plant.router.apply(route(1))
    with unable(plant.routers["b"], "rejecting"), pytest.raises(RouterRejected, match=r"^b: "):
        plant.router.apply(route(2))
    assert plant.router.route(MODEL) == route(1)
    until(lambda: plant.routers["a"].route(MODEL) == route(1), 60, "the route before on the other machine")


def test_a_machine_whose_router_is_down_keeps_no_other_from_a_change_and_follows(plant):
    plant.router.apply(route(1))
    with unable(plant.routers["b"], "down"):
        plant.router.apply(route(2))
        assert plant.routers["a"].route(MODEL) == route(2)
        assert plant.routers["b"].route(MODEL) == route(1)
        (problem,) = [machine.report.applied[WantedKind.ROUTE].failed for machine in plant.machines.all()
                      if machine.name == "b"]  # fmt: skip
        assert set(problem) == {MODEL}
    until(lambda: plant.routers["b"].route(MODEL) == route(2), 60, "the change where it was not possible")


def test_a_change_that_no_machine_can_make_is_none(plant):
    plant.router.apply(route(1))
    with (
        unable(plant.routers["a"], "down"), unable(plant.routers["b"], "down"),
        pytest.raises(RouterUnavailable, match="is down"),
    ):  # fmt: skip
        plant.router.apply(route(2))
    assert plant.router.route(MODEL) == route(1)


def test_nothing_waits_for_a_machine_whose_lease_has_ended_and_the_ledger_names_it(plant, tmp_path):
    plant.router.apply(route(1))
    plant.kill("b")
    ledger = SqlStore(plant.url).ledger
    watched = MachineWatchPorts(plant.machines, ledger, lambda: 0, lambda: None)
    assert look(watched, datetime.now(UTC)) == []
    with plant.database.writing() as connection:  # as if it had been silent for an hour
        connection.exec_driver_sql(
            "UPDATE perennial_machine SET seen_us = seen_us - 3600000000 WHERE machine = 'b'"
        )
    for _ in range(2):
        look(watched, datetime.now(UTC))
    (lost,) = ledger.rows(kinds=(Event.MACHINE_LOST,))
    assert lost.entry.payload["machine"] == "b"
    plant.router.apply(route(2))
    assert plant.routers["b"].route(MODEL) == route(1)
    plant.start("b")
    until(lambda: plant.routers["b"].route(MODEL) == route(2), 60, "what it missed")
    until(lambda: all(machine.is_live for machine in plant.machines.all()), 60, "its report")
    look(watched, datetime.now(UTC))
    assert [row.entry.kind for row in ledger.rows("")] == [Event.MACHINE_LOST, Event.MACHINE_BACK]


def test_a_machine_that_is_ended_in_order_is_none_until_it_is_back(plant):
    plant.stop("b")
    assert [machine.name for machine in plant.machines.all()] == ["a"]
    plant.router.apply(route(1))
    assert plant.pool.readiness("stable", MODEL, version(1).digest).total == 2
    plant.start("b")
    until(lambda: plant.routers["b"].route(MODEL) == route(1), 60, "what it missed")


def test_counters_are_those_of_all_machines_and_grow_over_restarts_and_losses(plant):
    plant.router.apply(route(1))
    for router in plant.routers.values():
        router.answered(MODEL, "stable", 100)
    assert plant.router.counters(MODEL)["stable"].requests == 200
    for router in plant.routers.values():
        router.answered(MODEL, "backup", 3)
    assert plant.router.backups() == {MODEL: 6}
    plant.routers["a"].restart()
    plant.routers["a"].answered(MODEL, "stable", 10)
    assert plant.router.counters(MODEL)["stable"].requests == 210
    with unable(plant.routers["b"], "down"):
        assert plant.router.counters(MODEL)["stable"].requests == 210
    plant.stop("b")
    assert plant.machines.forget("b")
    assert plant.router.counters(MODEL)["stable"].requests == 210
    plant.start("b")
    plant.routers["b"].answered(MODEL, "stable", 5)
    assert plant.router.counters(MODEL)["stable"].requests == 215


def test_users_of_all_machines_are_summed_by_bucket_with_the_part_of_each(plant):
    by_user = {"assignment": Assignment(experiment="e1", header="x-user-id")}
    sticky = route(1, candidate=2).model_copy(update=by_user)
    plant.router.apply(sticky)
    begun = plant.router.answers_of_users(None, {})
    assert set(begun.read) == {"a", "b"}
    for number, router in enumerate(plant.routers.values()):
        router.answered_users(MODEL, "canary", "7", 10, errors=number)
    seen = plant.router.answers_of_users(sticky.split, begun.read)
    counters = seen.counts["canary"]["7"]
    assert (counters.requests, counters.errors) == (20, 1)
    assert {name: part.errors for name, part in counters.parts.items()} == {"a": 0, "b": 1}
    assert plant.router.answers_of_users(sticky.split, seen.read).counts == {}
    with unable(plant.routers["b"], "down"):
        plant.routers["a"].answered_users(MODEL, "canary", "7", 1)
        alone = plant.router.answers_of_users(sticky.split, seen.read)
    assert alone.counts["canary"]["7"].requests == 1
    assert alone.read["b"] == seen.read["b"], "what it counts meanwhile is read when it is back"


def test_a_version_that_one_machine_lacks_is_ready_nowhere(plant):
    plant.pools["b"].broken[version(1).digest] = "out of memory"
    readiness = plant.pool.readiness("stable", MODEL, version(1).digest)
    assert (readiness.ready, readiness.total, readiness.reachable) == (0, 4, 4)
    assert all(error.startswith("b: ") for error in readiness.errors)
    problem = SqlProbe(plant.machines).infer("stable", MODEL, version(1).digest, BODY)
    assert "not loaded" in problem
    assert plant.pool.measure("stable", MODEL, version(1).digest, {}, 3) == [1.0] * 3


def test_a_new_machine_gets_a_route_only_after_its_servers_hold_the_version(plant):
    plant.router.apply(route(1))
    late = plant.pools["late"] = HoldingPool()
    late.slow.add(version(1).digest)
    plant.start("late")
    failed = lambda: next(  # noqa: E731
        machine.report.applied[WantedKind.ROUTE].failed
        for machine in plant.machines.all() if machine.name == "late"
    )  # fmt: skip
    until(lambda: MODEL in failed(), 60, "that it waits")
    assert plant.routers["late"].route(MODEL) is None
    late.slow.clear()
    until(lambda: plant.routers["late"].route(MODEL) == route(1), 60, "the route")


def test_a_machine_that_missed_a_change_of_the_champion_serves_the_one_before_until_it_has_loaded_the_new_one(
    plant,
):
    plant.router.apply(route(1))
    plant.stop("b")
    new = version(2)
    plant.hold(new, version(1))
    plant.router.apply(route(2))
    plant.hold(new)  # the one before leaves the pool
    plant.pools["b"].slow.add(new.digest)
    plant.start("b")
    until(lambda: "1.0.0 answers" in problem_of(plant, "b"), 60, "that it waits")
    assert plant.routers["b"].route(MODEL) == route(1)
    assert {ref.version for ref in plant.pools["b"].holds("stable")} == {"1.0.0", "2.0.0"}
    assert plant.pool.readiness("stable", MODEL, new.digest).ready == 0, "a release waits for it"
    plant.pools["b"].slow.clear()
    until(lambda: plant.routers["b"].route(MODEL) == route(2), 60, "the route")
    until(lambda: plant.pools["b"].holds("stable") == [DesiredVersion.of(new)], 60, "the pool as wanted")
    assert [version for version in plant.routers["b"].applied if version == route(2)] == [route(2)]


def problem_of(plant: Plant, name: str) -> str:
    applied = {machine.name: machine.report.applied for machine in plant.machines.all()}
    failed = applied[name].get(WantedKind.ROUTE, Applied()).failed if name in applied else {}
    return failed[MODEL].message if MODEL in failed else ""


def test_a_share_is_taken_back_on_a_machine_whose_servers_are_starting(plant):
    """The champion stays, so nothing has to be loaded."""
    plant.router.apply(shared := route(1, candidate=2))
    for pool in plant.pools.values():
        pool.slow.add(version(1).digest)
    plant.router.apply(shared.without_canary())
    assert [router.route(MODEL) for router in plant.routers.values()] == [route(1)] * 2


def test_without_a_machine_every_answer_says_so(tmp_path):
    empty = Plant(f"sqlite:///{tmp_path}/perennial.db")
    with pytest.raises(RouterUnavailable, match="no serving machine reports"):
        empty.router.apply(route(1))
    assert empty.router.route(MODEL) is None
    with pytest.raises(PoolUnavailable, match="no serving machine reports"):
        empty.pool.readiness("stable", MODEL, version(1).digest)


def test_a_tally_adds_what_was_counted_before_each_restart():
    tally = Tally()
    for requests in (5, 9, 2, 4, 1):
        tally = tally.seen({"stable": Counters(requests=requests, buckets=((1.0, requests),))})
    assert tally.total["stable"] == Counters(requests=9 + 4 + 1, buckets=((1.0, 14),))
    assert Tally.model_validate_json(tally.model_dump_json()) == tally
