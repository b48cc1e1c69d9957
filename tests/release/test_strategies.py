"""Each strategy from its start to its end, over fakes."""

from __future__ import annotations

import pytest

from perennial.core.governance.ledger import verify
from perennial.core.release.phase import Phase
from perennial.core.release.status import IntentKind, Pause

MODEL = "test_failure_predictor"
HOUR = 3600


def second(world, strategy: str, shadow: str | None = None, **changes):
    """A candidate beside a champion, one pass after loading."""
    world.release_first()
    world.use(strategy, shadow=shadow, **changes)
    return world.open_second()


def shares(world) -> list[float]:
    """Of the candidate, in every route since its first."""
    return [route.canary_weight for route in world.router.applied[1:]]


def test_blue_green_flips_at_once_holds_then_promotes(world):
    world.serve(0, 2000)
    status = second(world, "blue_green")
    assert (status.phase, world.router.route(MODEL).canary_weight) == (Phase.CANARY, 100)
    world.serve(3000, 0)
    assert world.passes(status.release_id, 1, HOUR / 2).phase is Phase.CANARY, "the hold is not over"
    assert [ref.version for ref in world.pool.holds("stable")] == ["1.0.0"], "the old one stays warm"
    assert world.passes(status.release_id, 1, HOUR / 2).phase is Phase.PROMOTING
    assert world.passes(status.release_id, 2).phase is Phase.SUCCEEDED
    assert world.router.route(MODEL).stable.version == "1.1.0"
    assert shares(world) == [100, 0]


def test_blue_green_flips_back_at_once(world):
    world.serve(0, 2000)
    status = second(world, "blue_green")
    world.say(status, IntentKind.ABORT)
    status = world.passes(status.release_id)
    assert status.phase is Phase.ABORTING
    assert (world.router.route(MODEL).stable.version, world.router.route(MODEL).canary) == ("1.0.0", None)
    assert world.passes(status.release_id).phase is Phase.ROLLED_BACK


def test_blue_green_is_compared_with_what_the_champion_did_before(world):
    world.serve(0, 2000)
    status = second(world, "blue_green")
    world.serve(400, 0, errors=16)  # 4 %, below the 5 % that are never allowed, far above the champion's
    world.serve(4000, 0, errors=160)
    status = world.passes(status.release_id, 2)
    assert status.phase is Phase.ROLLED_BACK
    assert "champion 0 of 2000 failed" in status.note


def test_blue_green_without_a_known_champion_asks_a_person(world):
    status = second(world, "blue_green")
    world.serve(400, 0)
    status = world.passes(status.release_id, 1, 26 * HOUR)
    assert (status.phase, status.pauses) == (Phase.CANARY, {Pause.UNSURE})


def test_shadow_only_ends_observed_with_its_evidence(world):
    status = second(world, "shadow_only", shadow="PT1H")
    assert world.router.route(MODEL).mirror
    world.serve(400, 2000)
    status = world.passes(status.release_id, 1, HOUR)
    assert (status.phase, status.outcome) == (Phase.ABORTING, Phase.OBSERVED)
    status = world.passes(status.release_id)
    assert status.phase is Phase.OBSERVED
    assert "requests" in {one.rule for one in status.evidence}
    assert shares(world) == [0, 0]
    assert world.router.route(MODEL).stable.version == "1.0.0"
    assert world.versions.aliases == {"champion": "1", "candidate": "2"}
    assert world.versions.records["2"].tags["lifecycle"] == "staging"
    assert world.candidates() == []
    assert world.kinds()[-3:] == ["shadow", "aborting", "observed"]
    assert verify(world.store.ledger.rows()) is None


def test_shadow_only_refuses_traffic_whoever_asks(world):
    status = second(world, "shadow_only", shadow="PT1H")
    world.say(status, IntentKind.PROMOTE)
    assert world.passes(status.release_id).phase is Phase.SHADOW
    assert world.kinds()[-1] == "intent_refused"


def test_shadow_only_needs_a_champion(world):
    world.use("shadow_only", shadow="PT1H")
    assert world.release_first().phase is Phase.REJECTED
    assert world.router.route(MODEL) is None


def test_bad_shadow_is_rolled_back_not_observed(world):
    status = second(world, "shadow_only", shadow="PT1H")
    world.serve(400, 2000, errors=200)
    assert world.passes(status.release_id, 2).phase is Phase.ROLLED_BACK


@pytest.mark.parametrize(
    ("answers", "seconds", "phase"),
    [
        ((4999, 9000), HOUR, Phase.CANARY),
        ((9000, 4999), HOUR, Phase.CANARY),
        ((5000, 5000), HOUR, Phase.PROMOTING),
        ((3000, 3000), 24 * HOUR, Phase.PROMOTING),
        ((400, 400), 24 * HOUR, Phase.CANARY),
    ],
    ids=["few here", "few there", "sample", "time", "too few to say"],
)
def test_ab_ends_with_its_sample_or_its_time(world, answers, seconds, phase):
    status = second(world, "ab")
    assert world.router.route(MODEL).canary_weight == 50
    world.serve(*answers)
    assert world.passes(status.release_id, 1, seconds).phase is phase


def test_ab_keeps_the_champion_when_the_candidate_is_worse(world):
    status = second(world, "ab")
    world.serve(5000, 5000, errors=400)
    assert world.passes(status.release_id, 2).phase is Phase.ROLLED_BACK
    assert world.router.route(MODEL).stable.version == "1.0.0"


def test_rolling_takes_a_servers_share_at_a_time(world):
    world.pool.servers["stable"] = world.pool.reachable["stable"] = 4
    status = second(world, "rolling")
    for _ in range(3):
        world.serve(3000, 3000)
        status = world.passes(status.release_id, 1, HOUR)
    assert status.phase is Phase.PROMOTING
    assert shares(world) == [25, 50, 75]


def test_rolling_keeps_the_shares_it_began_with(world):
    world.pool.servers["stable"] = world.pool.reachable["stable"] = 4
    status = second(world, "rolling")
    world.pool.servers["stable"] = world.pool.reachable["stable"] = 2
    assert (world.passes(status.release_id).servers, shares(world)) == (4, [25])


def test_immediate_promotes_after_loading_without_a_count(world):
    status = second(world, "immediate", shadow="PT1H")
    assert status.phase is Phase.PROMOTING
    assert world.passes(status.release_id, 2).phase is Phase.SUCCEEDED
    assert shares(world) == [0]


def test_edited_spec_changes_nothing_and_is_told_once(world):
    status = second(world, "canary", shadow="PT1H")
    world.use("immediate", shadow=None)
    world.serve(400, 2000)
    status = world.passes(status.release_id, 3)
    assert (status.phase, status.policy.strategy) == (Phase.SHADOW, "canary")
    assert status.spec_changed(world.spec_digest())
    assert world.kinds().count("spec_changed") == 1
    world.use("canary", shadow="PT1H")
    status = world.passes(status.release_id, 3)
    assert not status.spec_changed(world.spec_digest())
    assert world.kinds().count("spec_changed") == 2, "that it is as before again is told as well"


def test_spec_that_cannot_be_read_stops_nobody(world):
    status = second(world, "canary")
    world.spec_gone = True
    world.serve(400, 2000)
    status = world.passes(status.release_id, 1, 6 * HOUR)
    assert (status.step, status.errors_in_a_row) == (1, 0)
    assert "spec_changed" not in world.kinds()
