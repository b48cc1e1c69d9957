"""The emergency way back."""

from __future__ import annotations

import pytest

from perennial.core.release import IntentKind, Phase
from perennial.errors import PoolUnavailable, RouterUnavailable, UnknownRelease
from perennial.flows.rollback import rollback

MODEL = "test_failure_predictor"


@pytest.fixture
def two(world):
    """1.0.0 was champion, 1.1.0 is."""
    world.release_first()
    status = world.open_second()
    world.say(status, IntentKind.PROMOTE)
    assert world.passes(status.release_id, 3).phase is Phase.SUCCEEDED
    return world


def back(world, to=None):
    return rollback(MODEL, to, world.ports, "ann", "it burns", world.clock, world.sleep)


def test_previous_champion_gets_everything(two):
    target, left = back(two)
    assert (target.version, left) == ("1.0.0", [])
    assert two.router.route(MODEL).stable == target
    assert two.versions.aliases == {"champion": "1"}
    assert two.versions.records["2"].tags["lifecycle"] == "archived"
    row = two.store.ledger.rows()[-1].entry
    assert (row.kind, row.actor, row.payload["from"]) == ("release.rollback", "ann", "1.1.0")


def test_works_without_the_registry_and_says_what_is_left(two):
    two.versions.down = True
    target, left = back(two)
    assert two.router.route(MODEL).stable == target
    assert "rollback --to 1.0.0" in left[0]
    two.versions.down = False
    before = len(two.store.ledger.rows())
    assert back(two, "1.0.0")[1] == []
    assert two.versions.aliases["champion"] == "1"
    assert len(two.store.ledger.rows()) == before, "nothing moved the second time"


def test_canary_on_its_way_is_aborted_and_the_champion_stays(two):
    two.versions.add("1.2.0")
    third = two.passes(two.start().release_id)
    two.serve(400, 4000)
    third = two.passes(third.release_id, 1, 3600)
    assert two.router.route(MODEL).canary_weight == 5
    assert back(two)[0].version == "1.1.0"
    assert two.router.route(MODEL).canary is None
    assert two.passes(third.release_id, 2).phase is Phase.ROLLED_BACK
    assert two.router.route(MODEL).stable.version == "1.1.0"


def test_version_that_no_server_holds_is_loaded_from_this_machine(two):
    digest = two.versions.records["1"].ref.digest
    two.pool.drop("stable", MODEL, digest)
    assert back(two)[0].version == "1.0.0"
    assert digest in {ref.digest for ref in two.pool.holds("stable")}


def test_version_that_cannot_be_loaded_moves_nothing(two):
    digest = two.versions.records["1"].ref.digest
    two.pool.slow.add(digest)
    live = two.router.route(MODEL)
    with pytest.raises(PoolUnavailable):
        back(two)
    assert two.router.route(MODEL) == live


def test_nothing_to_go_back_to(world):
    with pytest.raises(UnknownRelease, match="no traffic"):
        back(world)
    world.release_first()
    with pytest.raises(UnknownRelease, match="no champion before"):
        back(world)
    with pytest.raises(UnknownRelease, match="never was champion"):
        back(world, "9.9.9")


def test_router_down_is_told(two):
    two.router.down = True
    with pytest.raises(RouterUnavailable):
        back(two)
    assert two.versions.aliases["champion"] == "2"
