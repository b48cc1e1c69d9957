"""Releases when something is down, moved by hand, or asked for twice."""

from __future__ import annotations

from datetime import timedelta

import pytest

from perennial.core.release.phase import Phase
from perennial.core.release.status import IntentKind, Pause
from perennial.errors import ReleaseError, RouterUnavailable, TrackerUnavailable

MODEL = "test_failure_predictor"
HOUR = 3600


def hold(world, status, seconds: float):
    """Let a step's time go by with healthy traffic."""
    world.serve(400, 2000)
    return world.passes(status.release_id, 1, seconds)


def test_registry_down_does_not_hold_up_the_way_back(world):
    world.release_first()
    status = hold(world, world.open_second(), HOUR)
    world.versions.down = True
    world.serve(200, 4000, errors=100)
    assert world.passes(status.release_id).phase is Phase.ABORTING
    assert world.router.route(MODEL).canary is None
    with pytest.raises(TrackerUnavailable):
        world.passes(status.release_id)
    world.versions.down = False
    assert world.passes(status.release_id).phase is Phase.ROLLED_BACK


def test_errors_in_a_row_end_it_but_a_short_gap_does_not(world):
    world.release_first()
    status = hold(world, world.open_second(), HOUR)
    world.router.servers["canary"] = 0
    assert world.passes(status.release_id, 9, seconds=10).phase is Phase.CANARY
    world.router.servers["canary"] = 1
    assert world.passes(status.release_id).errors_in_a_row == 0
    world.router.servers["canary"] = 0
    assert world.passes(status.release_id, 40, seconds=0.1).phase is Phase.CANARY, (
        "looking often kills nobody"
    )
    assert world.passes(status.release_id, 12, seconds=10).phase is Phase.ROLLED_BACK


@pytest.mark.parametrize("phase", [Phase.LOADING, Phase.PROMOTING])
def test_errors_that_are_not_in_a_row_end_no_loading(world, phase):
    world.release_first()
    status = world.open_second()
    if phase is Phase.LOADING:
        world.say(status, IntentKind.ABORT)
        world.passes(status.release_id, 2)
        world.versions.add("1.2.0")
        status = world.start()
    else:
        world.say(status, IntentKind.PROMOTE)
    world.say(status, IntentKind.PAUSE)
    status = world.passes(status.release_id)
    status = world.passes(status.release_id)
    assert (status.phase, status.pauses) == (phase, {Pause.PERSON})
    for _ in range(12):
        world.pool.broken[status.candidate.digest] = "out of memory"
        assert world.passes(status.release_id, 1, HOUR).errors_in_a_row == 1
        world.pool.broken.clear()
        status = world.passes(status.release_id, 1, HOUR)
        assert (status.phase, status.errors_in_a_row, "out of memory" in status.note) == (phase, 0, False)
    world.pool.broken[status.candidate.digest] = "out of memory"
    assert world.passes(status.release_id, 12, HOUR).phase is Phase.ROLLED_BACK


def test_never_back_to_an_unhealthy_champion(world):
    world.release_first()
    status = hold(world, world.open_second(), HOUR)
    world.router.servers["stable"] = 0
    world.say(status, IntentKind.ABORT)
    status = world.passes(status.release_id, 3)
    assert status.pauses == {Pause.CHAMPION_UNHEALTHY}
    assert world.router.route(MODEL).canary_weight == 5
    world.router.servers["stable"] = 2
    assert world.passes(status.release_id, 3).phase is Phase.ROLLED_BACK


def test_router_down_saves_nothing(world):
    world.release_first()
    status = hold(world, world.open_second(), HOUR)
    world.say(status, IntentKind.ABORT)
    world.router.down = True
    with pytest.raises(RouterUnavailable):
        world.passes(status.release_id)
    world.router.down = False
    assert world.passes(status.release_id, 2).phase is Phase.ROLLED_BACK


def test_counters_that_restart_count_from_zero(world):
    world.release_first()
    status = hold(world, world.open_second(), HOUR)
    world.router.answered(MODEL, "canary", 90)
    world.router.restart()
    world.router.answered(MODEL, "canary", 50)
    world.router.answered(MODEL, "stable", 1000)
    status = world.passes(status.release_id)
    assert told(status, "requests").startswith("50 ")


def told(status, rule: str) -> str:
    return next(one.observed for one in status.evidence if one.rule == rule)


def test_router_restarted_within_a_step_loses_no_count_and_makes_no_failure(world):
    """The counters pass what they were before the restart, in requests first and in errors later."""
    world.release_first()
    status = world.open_second()
    world.serve(600, 3000, errors=6)
    status = world.passes(status.release_id, 1, HOUR)
    assert status.phase is Phase.CANARY
    world.serve(100, 3000, errors=1)
    assert told(world.passes(status.release_id), "requests").startswith("100 ")
    world.router.restart()
    for n in range(1, 10):
        world.serve(100, 3000, errors=1)
        status = world.passes(status.release_id)
        assert (status.phase, status.step) == (Phase.CANARY, 0)
        assert told(status, "requests").startswith(f"{100 + 100 * n} ")
        assert told(status, "error_rate").startswith(f"{1 + n} of {100 + 100 * n} ")
    assert status.counted["canary"].latency_ms(0.5) < 10


def test_router_restarted_is_told_by_the_counts_of_any_pool(world):
    """So few requests came to the candidate before that its own counts tell nothing."""
    world.release_first()
    status = hold(world, world.open_second(), HOUR)
    world.router.restart()
    world.serve(10, 1000)
    world.passes(status.release_id)
    world.router.restart()
    world.serve(30, 900)
    status = world.passes(status.release_id)
    assert told(status, "requests").startswith("40 ")


def test_champion_moved_by_hand_withdraws_the_candidate(world):
    first = world.release_first()
    world.versions.add("1.1.0")
    second = world.passes(world.start().release_id)
    world.say(second, IntentKind.PROMOTE)
    world.passes(second.release_id, 3)
    world.versions.add("1.2.0")
    third = world.passes(world.start().release_id)
    live = world.router.route(MODEL)
    world.router.apply(live.model_copy(update={"stable": first.target}))
    assert world.passes(third.release_id, 2).phase is Phase.ROLLED_BACK
    assert world.router.route(MODEL).stable.version == "1.0.0"


def test_champion_again_is_refused(world):
    world.release_first()
    with pytest.raises(ReleaseError, match="champion already"):
        world.start("1.0.0", again=True)


def test_start_twice_is_one_release(world):
    world.release_first()
    status = world.open_second()
    before = len(world.store.ledger.rows())
    assert world.start("1.1.0").release_id == status.release_id
    assert len(world.store.ledger.rows()) == before


def test_time_is_absolute(world):
    world.release_first()
    status = world.open_second()
    world.serve(400, 2000)
    world.now = status.entered_at + timedelta(hours=1, seconds=1)
    assert world.passes(status.release_id, 1, 0).phase is Phase.CANARY
