"""No way around it: what gets its first traffic is what was approved, and not too long ago."""

from __future__ import annotations

import pytest
from release_chaos import edit_manifest

from perennial.core.release.phase import Phase
from perennial.core.release.status import IntentKind, Pause

MODEL = "test_failure_predictor"
MONTH = 30 * 24 * 3600


def approved(world, strategy: str = "canary"):
    """A second candidate that a person approved, in LOADING; its files are at the servers in no time."""
    world.release_first()
    world.use(strategy)
    world.versions.add("1.1.0", architecture="new")
    status = world.start()
    world.say(status, IntentKind.APPROVE)
    status = world.passes(status.release_id)
    assert status.phase is Phase.LOADING
    return status


def held_while_promoting(world, first: bool):
    """A release that waits in PROMOTING until its servers are there, and nobody has had an answer of it."""
    if first:
        world.versions.add("1.0.0")
        status = world.start()
        world.say(status, IntentKind.APPROVE)
        status = world.passes(status.release_id)
    else:
        status = approved(world, "immediate")
    world.pool.slow.add(status.candidate.digest)
    if not first:
        world.say(status, IntentKind.PROMOTE)
    status = world.passes(status.release_id)
    assert status.phase is Phase.PROMOTING
    return status


def refusals(world) -> list[str]:
    rows = world.store.ledger.rows()
    return [row.entry.payload["why"] for row in rows if row.entry.kind == "release.intent_refused"]


def test_promote_after_the_approvals_lapsed_asks_people_again(world):
    status = approved(world)
    world.sleep(MONTH)
    world.say(status, IntentKind.PROMOTE)
    status = world.passes(status.release_id, 4)
    assert status.phase is Phase.AWAITING_APPROVAL
    assert world.router.route(MODEL).stable.version == "1.0.0"
    assert "approvals lapsed" in refusals(world)[0]
    world.say(status, IntentKind.APPROVE)
    world.say(status, IntentKind.PROMOTE)
    assert world.passes(status.release_id, 5).phase is Phase.SUCCEEDED


def test_promote_of_edited_files_rejects_the_release(world):
    status = approved(world)
    edit_manifest(world, status.candidate)
    world.say(status, IntentKind.PROMOTE)
    status = world.passes(status.release_id, 3)
    assert (status.phase, status.approvals) == (Phase.REJECTED, ())
    assert world.router.route(MODEL).stable.version == "1.0.0"
    assert "changed since the gate" in refusals(world)[0]


@pytest.mark.parametrize("first", [True, False])
def test_lapsed_while_promoting_without_traffic_asks_people_again(world, first):
    status = held_while_promoting(world, first)
    routed = world.router.route(MODEL)
    status = world.passes(status.release_id, 1, MONTH)
    assert status.phase is Phase.AWAITING_APPROVAL
    world.pool.slow.clear()
    assert world.passes(status.release_id, 3).phase is Phase.AWAITING_APPROVAL
    assert world.router.route(MODEL) == routed
    world.say(status, IntentKind.APPROVE)
    assert world.passes(status.release_id, 5).phase is Phase.SUCCEEDED


@pytest.mark.parametrize("first", [True, False])
def test_edited_while_promoting_without_traffic_is_rejected_also_on_resume(world, first):
    status = held_while_promoting(world, first)
    routed = world.router.route(MODEL)
    status = world.passes(status.release_id, 1, 3 * 24 * 3600)
    assert status.pauses == {Pause.NOT_LOADED}
    edit_manifest(world, status.candidate)
    world.pool.slow.clear()
    world.say(status, IntentKind.RESUME)
    status = world.passes(status.release_id, 2)
    assert (status.phase, status.approvals) == (Phase.REJECTED, ())
    assert world.router.route(MODEL) == routed
    assert [ref.version for ref in world.pool.holds("stable")] == ([] if first else ["1.0.0"])


def test_with_traffic_an_approval_lapses_no_more(world):
    world.release_first()
    status = world.open_second()
    world.say(status, IntentKind.PROMOTE)
    world.pool.slow.add(status.candidate.digest)
    assert world.passes(status.release_id).phase is Phase.PROMOTING
    world.passes(status.release_id, 1, MONTH)
    world.pool.slow.clear()
    world.say(status, IntentKind.RESUME)
    assert world.passes(status.release_id, 3).phase is Phase.SUCCEEDED
