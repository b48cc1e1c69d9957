"""Somebody deletes in another tool what a release or a rollback names: it is on record, and the rest ends."""

from __future__ import annotations

import shutil

import pytest

from perennial.core.release.phase import Phase
from perennial.core.release.status import IntentKind

MODEL = "test_failure_predictor"


@pytest.fixture
def two(world):
    """1.0.0 was champion, 1.1.0 is."""
    world.release_first()
    status = world.open_second()
    world.say(status, IntentKind.PROMOTE)
    assert world.passes(status.release_id, 3).phase is Phase.SUCCEEDED
    return world


def lost(world) -> list[str]:
    rows = [row.entry for row in world.store.ledger.rows()]
    return [entry.payload["why"] for entry in rows if entry.kind == "lifecycle.lost"]


def start_third(world):
    world.versions.add("1.2.0")
    return world.start()


def test_rollback_to_a_deleted_version_is_settled(two):
    two.versions.lose("1")
    assert two.back()[0].version == "1.0.0"
    assert "key 1" in two.settle()[0]
    assert two.journal.pending() == []
    assert two.settle() == []
    assert "key 1" in lost(two)[0]
    assert "champion" not in two.versions.aliases, "the alias does not name the version that was left"
    assert two.versions.records["2"].tags["lifecycle"] == "archived"


def test_rollback_from_a_deleted_version_is_settled(two):
    two.versions.lose("2")
    two.back()
    assert two.settle() == []
    assert two.versions.aliases["champion"] == "1"


def test_next_release_after_a_rollback_to_a_deleted_version_starts(two):
    two.versions.lose("1")
    two.back()
    two.settle()
    status = start_third(two)
    assert status.gate.passed
    assert status.gate.risk.value == "high", "nothing is known of the champion's origin"


def test_former_champion_deleted_while_its_successor_is_promoted(world):
    world.release_first()
    status = world.open_second()
    world.say(status, IntentKind.PROMOTE)
    world.passes(status.release_id)
    world.versions.lose("1")
    assert world.passes(status.release_id, 3).phase is Phase.SUCCEEDED
    assert world.versions.aliases["champion"] == "2"
    assert "key 1" in lost(world)[0]


def test_candidate_deleted_while_it_is_promoted(world):
    world.release_first()
    status = world.open_second()
    world.say(status, IntentKind.PROMOTE)
    world.passes(status.release_id)
    world.versions.lose("2")
    assert world.passes(status.release_id, 3).phase is Phase.SUCCEEDED
    assert "key 2" in lost(world)[0]
    assert start_third(world).phase is not Phase.PENDING


def test_abort_of_a_deleted_candidate_ends(world):
    world.release_first()
    status = world.open_second()
    world.versions.lose("2")
    world.say(status, IntentKind.ABORT)
    assert world.passes(status.release_id, 3).phase is Phase.ROLLED_BACK
    assert world.router.route(MODEL).canary is None
    assert "key 2" in lost(world)[0]


@pytest.mark.parametrize("promoting", [True, False])
def test_candidate_deleted_with_its_served_files_is_aborted(world, promoting):
    """Version and served files are gone: no server can load it again."""
    world.release_first()
    status = world.open_second()
    if promoting:
        world.say(status, IntentKind.PROMOTE)
        assert world.passes(status.release_id).phase is Phase.PROMOTING
    world.versions.lose("2")
    shutil.rmtree(world.ports.files / status.candidate.digest)
    status = world.passes(status.release_id, 5)
    if promoting:
        assert status.phase is Phase.ROLLED_BACK
        assert world.router.route(MODEL).stable.version == "1.0.0"
    else:
        world.say(status, IntentKind.ABORT)
        assert world.passes(status.release_id, 3).phase.is_final()


def test_deleted_aliases_are_set_again_by_the_next_promotion(two):
    two.versions.aliases.clear()
    status = start_third(two)
    two.say(status, IntentKind.APPROVE)
    two.say(status, IntentKind.PROMOTE)
    assert two.passes(status.release_id, 6).phase is Phase.SUCCEEDED
    assert two.versions.aliases == {"champion": "3", "previous": "2"}
