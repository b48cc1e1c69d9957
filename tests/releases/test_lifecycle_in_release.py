"""A version in a running release cannot be taken out of use."""

from __future__ import annotations

from perennial.core.lifecycle import CHAMPION_ONLY, in_use


def test_candidate_and_champion_of_a_running_release_are_in_use(world):
    world.release_first()
    status = world.open_second()
    releases = world.store.releases.latest(status.model)
    for key in ("1", "2"):
        told = in_use(world.versions.records[key], None, releases, CHAMPION_ONLY)
        assert told is not None
        assert f"running release {status.release_id}" in told
    other = world.versions.add("9.0.0")
    assert in_use(other, None, releases, CHAMPION_ONLY) is None
