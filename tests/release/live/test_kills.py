"""SIGKILL of one process during a release: the end is that of a release in which nobody dies."""

from __future__ import annotations

import time

import pytest
from load_generator import Load
from release_house import BODY, MODEL, PATH, ReleaseHouse
from release_kills import Walkers, end_of, released
from release_scenarios import SHADOW

from perennial.core.release.phase import Phase
from perennial.core.spec import Strategy

pytestmark = pytest.mark.server


@pytest.fixture
def asking(house: ReleaseHouse):
    """A few clients while the test runs."""
    house.use(Strategy.CANARY)
    house.stack.wait_answering()
    house.stack.wait_healthy(MODEL)
    with Load(house.stack.settings.port_envoy, PATH, BODY, threads=2, pause_s=0.01) as load:
        yield load


@pytest.fixture(scope="module")
def undisturbed(house: ReleaseHouse):
    house.use(Strategy.CANARY)
    with Load(house.stack.settings.port_envoy, PATH, BODY, threads=2, pause_s=0.01):
        return end_of(house, released(house, {}))


def test_the_undisturbed_end(undisturbed):
    assert undisturbed["phase"] is Phase.SUCCEEDED
    assert undisturbed["ledger broken at"] is None


@pytest.mark.parametrize("pool", ["stable", "canary"])
def test_a_model_server(house: ReleaseHouse, asking: Load, undisturbed, pool):
    name = house.stack.servers(pool)[0]
    status = released(house, {"20 %": lambda: house.stack.kill(name)})
    assert end_of(house, status) == undisturbed
    assert asking.lost_to_a_kill == 0, asking.failures


def test_envoy(house: ReleaseHouse, asking: Load, undisturbed):
    gap = []

    def kill() -> None:
        gap.append(time.monotonic())
        house.stack.kill("envoy")
        house.stack.wait_answering()
        gap.append(time.monotonic())

    status = released(house, {SHADOW: kill})
    assert end_of(house, status) == undisturbed
    assert all(gap[0] <= at <= gap[1] + 1 for at in asking.failed_at), asking.failures


def test_whoever_walks_it_after_each_effect(house: ReleaseHouse, asking: Load, undisturbed, tmp_path):
    walkers = Walkers(house)
    status = walkers.after_each_effect(house.challengers()[0], tmp_path)
    assert end_of(house, status) == undisturbed
    assert walkers.kills >= 15
    assert asking.failed == 0, asking.failures


def test_whoever_walks_it_at_any_time(house: ReleaseHouse, asking: Load, undisturbed):
    walkers = Walkers(house)
    status = walkers.at_random(house.challengers()[0], count=12, seed=1)
    assert end_of(house, status) == undisturbed
    assert walkers.kills >= 6
    assert asking.failed == 0, asking.failures
