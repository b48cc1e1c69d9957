"""How servers hold a model: as its spec says, and pinned as long as a release of it is under way."""

from __future__ import annotations

import os

import pytest

from perennial import catalog
from perennial.core.release.phase import Phase
from perennial.core.release.status import IntentKind, Pause
from perennial.core.serving_spec import Load
from perennial.flows.release.failover_watch import FailoverWatch, FailoverWatchPorts
from perennial.flows.release.load_policy import LoadPolicyPorts
from perennial.settings import Settings
from perennial.wiring.releasing import load_policy

MODEL = "test_failure_predictor"


class Guard:
    """The watch over a world whose spec says `policy`."""

    def __init__(self, world) -> None:
        self.policy: Load | None = Load.ON_DEMAND
        self._world = world
        store = world.store
        loads = LoadPolicyPorts(world.pool, store.releases, lambda model: self.policy)
        ports = FailoverWatchPorts(world.router, store.ledger, lambda now: [], None, loads=loads)
        self._watch = FailoverWatch([MODEL], ports)

    def look(self) -> Load | None:
        assert self._watch.look(self._world.now) == []
        return self._world.pool.loads.get(MODEL)


@pytest.fixture
def guard(world):
    return Guard(world)


def test_a_champion_is_pinned_for_a_release_and_held_on_demand_after_it(world, guard):
    world.release_first()
    assert guard.look() is Load.ON_DEMAND
    status = world.open_second()
    assert status.phase is Phase.SHADOW
    assert world.pool.loads[MODEL] is Load.PINNED, "before the first step, not at the guard's next pass"
    assert guard.look() is Load.PINNED
    world.say(status, IntentKind.PROMOTE)
    assert world.passes(status.release_id, 3).phase is Phase.SUCCEEDED
    assert guard.look() is Load.ON_DEMAND


def test_a_spec_that_changes_is_followed_and_one_that_cannot_be_read_is_not(world, guard):
    world.release_first()
    guard.look()
    guard.policy = None
    assert guard.look() is Load.ON_DEMAND
    guard.policy = Load.PINNED
    assert guard.look() is Load.PINNED


def test_no_step_begins_while_a_server_loads_the_champion(world):
    world.release_first()
    champion = world.router.route(MODEL).stable.digest
    world.pool.slow.add(champion)
    status = world.open_second()
    assert (status.phase, status.note) == (Phase.LOADING, "the stable pool loads the champion")
    world.pool.slow.clear()
    assert world.passes(status.release_id).phase is Phase.SHADOW


def test_a_person_is_told_when_that_takes_too_long(world):
    world.release_first()
    world.pool.slow.add(world.router.route(MODEL).stable.digest)
    status = world.open_second()
    status = world.passes(status.release_id, 1, world.spec.release.unsure_after.total_seconds() + 1)
    assert status.pauses == {Pause.NOT_LOADED}


def test_a_server_that_cannot_load_the_champion_is_not_waited_for(world):
    world.release_first()
    world.pool.broken[world.router.route(MODEL).stable.digest] = "torn"
    assert world.open_second().phase is Phase.SHADOW


def test_the_key_of_the_spec_counts_from_its_next_reading_and_a_spec_without_it_keeps_its_digest(tmp_path):
    settings = Settings(project=tmp_path)
    file = tmp_path / "configs" / "models" / f"{MODEL}.yaml"
    file.parent.mkdir(parents=True)
    shipped = (Settings().configs / "models" / f"{MODEL}.yaml").read_text()
    digests = set()
    for number, (line, load) in enumerate(
        {
            "": Load.PINNED,
            "serving: {load: pinned}": Load.PINNED,
            "serving: {load: on_demand}": Load.ON_DEMAND,
            "serving: {load: never}": None,
        }.items()
    ):
        file.write_text(f"{shipped}\n{line}\n")
        os.utime(file, (number, number))
        assert load_policy(MODEL, settings) is load
        if load is Load.PINNED:
            digests.add(catalog.spec(MODEL, settings).digest)
    assert len(digests) == 1
