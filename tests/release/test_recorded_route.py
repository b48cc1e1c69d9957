"""The live route is one that ledger and releases call for: anything else is alarmed and taken back."""

from __future__ import annotations

from datetime import timedelta

import pytest

from perennial.core.events import Event
from perennial.core.release.phase import Phase
from perennial.core.release.status import IntentKind
from perennial.core.release.traffic import Route, Target
from perennial.core.release_spec import Strategy
from perennial.errors import StoreUnavailable
from perennial.flows.release.failover_watch import FailoverWatch, FailoverWatchPorts
from perennial.flows.release.recorded_route import RecordedRoutePorts, compare_with_record

MODEL = "test_failure_predictor"


def ports(world) -> RecordedRoutePorts:
    return RecordedRoutePorts(
        world.router, world.store.releases, world.store.ledger, world.journal, world.pool
    )


@pytest.fixture
def watch(world) -> FailoverWatch:
    return FailoverWatch(
        [MODEL],
        FailoverWatchPorts(world.router, world.store.ledger, lambda now: world.settle(), ports(world)),
    )


def off(world):
    return compare_with_record(MODEL, ports(world))


def told(world) -> list:
    return [row.entry for row in world.store.ledger.rows() if row.entry.kind == Event.ROUTE_CHANGED_OUTSIDE]


def edit(world, **changes) -> Route:
    """Edit the file of confirmed routes and start Envoy again."""
    live = world.router.route(MODEL)
    edited = live.model_copy(update=changes)
    world.router._routes[MODEL] = edited
    return live


def stranger(world) -> Target:
    return Target(version="6.6.6", digest="f" * 64, release_id=world.router.route(MODEL).stable.release_id)


@pytest.mark.parametrize(
    "strategy",
    [Strategy.CANARY, Strategy.BLUE_GREEN, Strategy.AB, Strategy.ROLLING, Strategy.SHADOW_ONLY, Strategy.IMMEDIATE],
)  # fmt: skip
def test_no_pass_of_a_release_leaves_the_record(world, strategy, monkeypatch):
    """Neither after a pass, nor between the move of the traffic and the save of the status."""
    found = []
    real_apply, real_save = world.router.apply, world.store.releases.save

    def apply(*given):
        real_apply(*given)
        found.append(off(world))

    def save(*given):
        found.append(off(world))
        saved = real_save(*given)
        found.append(off(world))
        return saved

    world.release_first()
    world.use(strategy)
    monkeypatch.setattr(world.router, "apply", apply)
    monkeypatch.setattr(world.store.releases, "save", save)
    status = world.open_second()
    for number in range(60):
        if status.phase.is_final():
            break
        world.serve(4000, 4000)
        if number == 3:
            world.say(status, IntentKind.APPROVE)
        if number == 40:  # two shares are proven by labels only
            world.say(status, IntentKind.PROMOTE)
        status = world.passes(status.release_id, seconds=600)
    assert status.phase in (Phase.SUCCEEDED, Phase.OBSERVED)
    assert len(found) > 6
    assert set(found) <= {None}


@pytest.mark.parametrize("passes", [1, 3, 5])
def test_an_abort_and_a_rollback_stay_on_record(world, watch, passes):
    world.release_first()
    status = world.passes(world.open_second().release_id, passes)
    world.back()
    assert off(world) is None, "the rollback is in the journal"
    watch.look(world.now)
    status = world.passes(status.release_id, 2)
    assert status.phase is Phase.ROLLED_BACK
    watch.look(world.now)
    assert (off(world), told(world)) == (None, [])


def test_rollback_of_a_champion_stays_on_record(world, watch):
    world.release_first()
    status = world.open_second()
    world.say(status, IntentKind.PROMOTE)
    world.passes(status.release_id, 3)
    world.back()
    watch.look(world.now)
    assert (off(world), told(world), world.router.route(MODEL).backup) == (None, [], None)


@pytest.mark.parametrize("edited", ["stable", "canary", "backup", "weight", "removed"])
def test_an_edited_route_file_is_mended_in_one_pass(world, watch, edited):
    """Who edited `routes.json` and restarted Envoy had all traffic, and nothing noticed."""
    world.release_first()
    status = world.open_second()
    if edited == "weight":
        world.passes(status.release_id, 2, seconds=1)
        live = edit(world, canary_weight=100.0, mirror=False)
    elif edited == "removed":
        live = world.router._routes.pop(MODEL)
    else:
        target = stranger(world)
        more = {"canary_weight": 100.0} if edited == "canary" else {}
        live = edit(world, **{edited: target, **more})
    lines = watch.look(world.now)
    assert any("ALARM route.changed_outside" in line for line in lines), lines
    assert world.router.route(MODEL) == live
    (entry,) = told(world)
    assert entry.payload["differences"]
    assert watch.look(world.now) == []
    assert len(told(world)) == 1


def test_a_lost_database_stops_neither_serving_nor_the_repair_of_envoy(world, watch, monkeypatch):
    world.release_first()
    live = world.router.route(MODEL)

    def down(*given, **more):
        raise StoreUnavailable("down", hint="wait")

    for part in (world.store.ledger, world.store.releases):
        for name in ("rows", "latest", "append", "save", "load"):
            if hasattr(part, name):
                monkeypatch.setattr(part, name, down)
    world.router.foreign = ["routes: another weight"]
    lines = watch.look(world.now)
    assert any("StoreUnavailable" in line for line in lines)
    assert (world.router.route(MODEL), world.router.repairs) == (live, 1)
    monkeypatch.undo()
    world.now += timedelta(seconds=2)
    watch.look(world.now)
    assert len(told(world)) == 1, "told when the database is back"


def test_traffic_never_goes_to_a_version_that_no_server_holds(world, watch):
    world.release_first()
    edit(world, stable=stranger(world))
    champion = world.versions.records["1"].ref
    world.pool.drop("stable", MODEL, champion.digest)
    assert "no stable server holds 1.0.0" in watch.look(world.now)[-1]
    assert world.router.route(MODEL).stable.version == "6.6.6"
    world.pool.ensure("stable", champion, world.ports.files)
    watch.look(world.now)
    assert world.router.route(MODEL).stable.version == "1.0.0"


def test_a_route_of_which_no_release_knows_is_told(world, watch):
    world.router.apply(Route(model=MODEL, stable=Target(version="1.0.0", digest="a", release_id="r")))
    assert "the ledger names no champion" in watch.look(world.now)[-1]
    assert len(told(world)) == 1
