"""What clients notice of releases: a real Envoy, real model servers; the whole table is a benchmark."""

from __future__ import annotations

import pytest
from live_releases import BODY, PATH, LiveReleases
from load_generator import Load
from release_scenarios import LOADING, PROMOTING, SHADOW, Ending, Scenario, expected, run, scenarios

from perennial.core.release_spec import Strategy

pytestmark = pytest.mark.traffic

WALKED = [
    Scenario(Strategy.CANARY, Ending.FORWARD),
    Scenario(Strategy.CANARY, Ending.ABORTED, "20 %"),
    Scenario(Strategy.BLUE_GREEN, Ending.FORWARD),
    Scenario(Strategy.ROLLING, Ending.ABORTED, PROMOTING),
    Scenario(Strategy.SHADOW_ONLY, Ending.SUPERSEDED, SHADOW),
    Scenario(Strategy.IMMEDIATE, Ending.RESUMED, LOADING),
]
CHANCE = 4.0
"""Standard deviations: of a handful of shares in every run, one beyond 3 would come too often."""


@pytest.mark.parametrize("scenario", WALKED, ids=lambda one: f"{one.strategy.value} {one}")
def test_a_release_costs_no_request(live_releases: LiveReleases, scenario: Scenario):
    # No more clients than one busy server can answer copies of: what is beyond would be dropped.
    port = live_releases.stack.settings.port_envoy
    outcome = run(scenario, live_releases, lambda: Load(port, PATH, BODY, threads=2, pause_s=0.01))
    assert outcome.phase is expected(scenario)
    assert outcome.failed == 0
    assert outcome.requests > 100
    assert outcome.problems == []
    for share in outcome.shares.values():
        assert share.holds(CHANCE), share


def test_the_walked_ones_are_among_all(live_releases: LiveReleases):
    """A stop that is renamed would never be reached."""
    everything = {one for strategy in Strategy for one in scenarios(live_releases.use(strategy).release)}
    assert set(WALKED) <= everything
