"""SIGKILL of one process during a release: the end is that of a release in which nobody dies."""

from __future__ import annotations

import time

import pytest
from live_releases import BODY, MODEL, PATH, LiveReleases
from load_generator import Load
from release_kills import Walkers, end_of, released
from release_scenarios import SHADOW

from perennial.core.release.phase import Phase
from perennial.core.release_spec import Strategy

pytestmark = [pytest.mark.traffic, pytest.mark.timeout(900)]


@pytest.fixture
def asking(live_releases: LiveReleases):
    """A few clients while the test runs."""
    live_releases.use(Strategy.CANARY)
    live_releases.stack.wait_answering()
    live_releases.stack.wait_healthy(MODEL)
    with Load(live_releases.stack.settings.port_envoy, PATH, BODY, threads=2, pause_s=0.05) as load:
        yield load


@pytest.fixture(scope="module")
def undisturbed(live_releases: LiveReleases):
    live_releases.use(Strategy.CANARY)
    with Load(live_releases.stack.settings.port_envoy, PATH, BODY, threads=2, pause_s=0.05):
        return end_of(live_releases, released(live_releases, {}))


def test_the_undisturbed_end(undisturbed):
    assert undisturbed["phase"] is Phase.SUCCEEDED
    assert undisturbed["ledger broken at"] is None


@pytest.mark.parametrize("pool", ["stable", "canary"])
def test_a_model_server(live_releases: LiveReleases, asking: Load, undisturbed, pool):
    name = live_releases.stack.servers(pool)[0]
    status = released(live_releases, {"20 %": lambda: live_releases.stack.kill(name)})
    assert end_of(live_releases, status) == undisturbed
    assert asking.lost_to_a_kill == 0, asking.failures


def test_envoy(live_releases: LiveReleases, asking: Load, undisturbed):
    gap = []

    def kill() -> None:
        gap.append(time.monotonic())
        live_releases.stack.kill("envoy")
        live_releases.stack.wait_answering()
        gap.append(time.monotonic())

    status = released(live_releases, {SHADOW: kill})
    assert end_of(live_releases, status) == undisturbed
    assert all(gap[0] <= at <= gap[1] + 1 for at in asking.failed_at), asking.failures


def test_whoever_walks_it_after_each_effect(live_releases: LiveReleases, asking: Load, undisturbed, tmp_path):
    walkers = Walkers(live_releases)
    status = walkers.after_each_effect(live_releases.challengers()[0], tmp_path)
    assert end_of(live_releases, status) == undisturbed
    assert walkers.kills >= 15
    assert asking.failed == 0, asking.failures


def test_whoever_walks_it_at_any_time(live_releases: LiveReleases, asking: Load, undisturbed):
    walkers = Walkers(live_releases)
    status = walkers.at_random(live_releases.challengers()[0], count=12, seed=1)
    assert end_of(live_releases, status) == undisturbed
    assert walkers.kills >= 6
    assert asking.failed == 0, asking.failures
