"""Every strategy, left alone, aborted, paused, promoted, superseded at every step, killed at every effect."""

from __future__ import annotations

import random

import pytest
from examples import examples
from release_chaos import MODEL, Effects, Killed, ends

from perennial.core.release.phase import Phase
from perennial.core.release.status import IntentKind
from perennial.core.release_spec import Strategy

pytestmark = pytest.mark.slow

SERVERS = 3
LONGEST = 8
"""Passes of a day from loading to the end; no strategy takes more."""
ENDS = {one: Phase.OBSERVED if one is Strategy.SHADOW_ONLY else Phase.SUCCEEDED for one in Strategy}

every_strategy = pytest.mark.parametrize("strategy", list(Strategy))


def world_with_champion(make_world, strategy: Strategy):
    """A champion with traffic, and a spec that releases the next candidate by this strategy."""
    world = make_world()
    world.pool.servers["stable"] = world.pool.reachable["stable"] = SERVERS
    world.release_first()
    world.serve(0, 2000)
    world.use(strategy, shadow="PT1H", steps=[{"weight": share, "duration": "PT1H"} for share in (5, 50)])
    return world


def offer(world, version: str, **tags: str):
    world.versions.add(version, **tags)
    return world.start()


def go_on(world, status, passes: int):
    """So many passes, each long enough for the step that it finds."""
    for _ in range(passes):
        world.serve(6000, 6000)
        status = world.passes(status.release_id, 1, 24 * 3600)
    return status


def alone(world, version: str) -> bool:
    route = world.router.route(MODEL)
    return route.stable.version == version and route == route.without_canary()


@every_strategy
def test_left_alone_it_comes_to_its_end(make_world, strategy):
    world = world_with_champion(make_world, strategy)
    status = go_on(world, offer(world, "1.1.0"), LONGEST)
    assert status.phase is ENDS[strategy]
    assert alone(world, "1.0.0" if strategy is Strategy.SHADOW_ONLY else "1.1.0")
    assert world.candidates() == []


@every_strategy
@pytest.mark.parametrize("passes", range(LONGEST))
def test_aborted_anywhere_the_champion_has_everything(make_world, strategy, passes):
    world = world_with_champion(make_world, strategy)
    status = go_on(world, offer(world, "1.1.0"), passes)
    if status.phase.is_final():
        return
    applied = len(world.router.applied)
    world.say(status, IntentKind.ABORT)
    status = world.passes(status.release_id)
    if world.versions.aliases["champion"] == "2":
        assert status.phase is Phase.SUCCEEDED, "too late: `rollback` takes it back"
        return
    assert alone(world, "1.0.0"), "traffic is back with the pass that obeys"
    assert len(world.router.applied) <= applied + 1
    status = world.passes(status.release_id)
    assert status.phase in (Phase.ROLLED_BACK, Phase.REJECTED, Phase.OBSERVED)
    assert alone(world, "1.0.0")
    assert world.candidates() == []
    assert [ref.version for ref in world.pool.holds("stable")] == ["1.0.0"]


@every_strategy
@pytest.mark.parametrize("passes", range(LONGEST))
def test_paused_anywhere_it_stays_and_resumes(make_world, strategy, passes):
    world = world_with_champion(make_world, strategy)
    status = go_on(world, offer(world, "1.1.0"), passes)
    if status.phase.is_final() or status.phase is Phase.ABORTING:
        return
    world.say(status, IntentKind.PAUSE)
    paused = world.passes(status.release_id)
    if paused.phase.is_final():
        return
    later = go_on(world, paused, 3)
    if not later.phase.is_final():
        assert (later.phase, later.step) == (paused.phase, paused.step)
        world.say(later, IntentKind.RESUME)
        later = go_on(world, later, LONGEST)
    assert later.phase is ENDS[strategy]


@every_strategy
@pytest.mark.parametrize("passes", range(LONGEST))
def test_promoted_anywhere_it_skips_the_rest(make_world, strategy, passes):
    world = world_with_champion(make_world, strategy)
    status = go_on(world, offer(world, "1.1.0"), passes)
    if status.phase.is_final():
        return
    world.say(status, IntentKind.PROMOTE)
    after = world.passes(status.release_id, 4).phase
    if strategy is Strategy.SHADOW_ONLY:  # refused
        assert after in (Phase.SHADOW, Phase.OBSERVED)
        assert alone(world, "1.0.0") or world.router.route(MODEL).mirror
    else:
        assert after is Phase.SUCCEEDED


@every_strategy
@pytest.mark.parametrize("passes", range(LONGEST))
def test_a_newer_candidate_takes_over_anywhere(make_world, strategy, passes):
    world = world_with_champion(make_world, strategy)
    old = go_on(world, offer(world, "1.1.0"), passes)
    late = old.phase in (Phase.PROMOTING, Phase.ABORTING, ENDS[strategy])
    world.sleep(1)
    new = go_on(world, offer(world, "1.2.0"), LONGEST)
    assert world.store.releases.load(old.release_id).phase is (ENDS[strategy] if late else Phase.SUPERSEDED)
    assert new.phase is ENDS[strategy]
    assert world.candidates() == []


@every_strategy
@pytest.mark.parametrize("passes", range(LONGEST))
def test_a_newer_candidate_that_fails_its_gate_disturbs_nobody_anywhere(make_world, strategy, passes):
    world = world_with_champion(make_world, strategy)
    old = go_on(world, offer(world, "1.1.0"), passes)
    world.sleep(1)
    assert offer(world, "1.2.0", data_checks="failed").phase is Phase.REJECTED
    assert go_on(world, old, LONGEST).phase is ENDS[strategy]


@every_strategy
@pytest.mark.parametrize("passes", range(LONGEST))
def test_a_restart_of_the_router_anywhere_takes_nobody_back(make_world, strategy, passes):
    """With some errors before and after, of candidate and champion alike."""
    world = world_with_champion(make_world, strategy)
    status = offer(world, "1.1.0")
    for number in range(LONGEST):
        world.serve(3000, 3000, errors=6)
        world.passes(status.release_id, 1, 60)
        if number == passes:
            world.router.restart()
        for _ in range(12):  # as many slices of time as a verdict needs
            world.serve(700, 700, errors=1)
            world.passes(status.release_id, 1, 60)
        status = world.passes(status.release_id, 1, 24 * 3600)
    assert status.phase is ENDS[strategy], status.note


@every_strategy
def test_killed_when_it_got_its_first_share_then_aborted_the_champion_has_everything(make_world, strategy):
    """The status that was saved says LOADING or PROMOTING, the route names the candidate."""
    world = world_with_champion(make_world, strategy)
    world.use(strategy, shadow="PT1H" if strategy is Strategy.SHADOW_ONLY else None)
    status = offer(world, "1.1.0")
    apply = world.router.apply

    def killed(route, *expected):
        apply(route, *expected)
        raise Killed

    world.router.apply = killed
    with pytest.raises(Killed):
        world.passes(status.release_id, 3)
    world.router.apply = apply
    world.say(status, IntentKind.ABORT)
    status = world.passes(status.release_id, 3)
    late = world.router.route(MODEL).stable.version == "1.1.0"
    assert status.phase is (Phase.SUCCEEDED if late else Phase.REJECTED)
    assert alone(world, "1.1.0" if late else "1.0.0")
    assert world.candidates() == []


REACHED = {Strategy.SHADOW_ONLY: Phase.SHADOW, Strategy.IMMEDIATE: Phase.LOADING}
"""Where the script interferes: in a phase that no repeated pass can skip. CANARY for the others."""


def play(world, strategy: Strategy, kill_at: int | None) -> int:
    """A release to its end, one aborted on its way, one superseded; returns how many effects they had."""
    effects = Effects(world, kill_at)
    for version, until in [
        ("1.1.0", None),
        ("1.2.0", IntentKind.ABORT),
        ("1.3.0", IntentKind.RESUME),  # refused: it is not paused; then the next supersedes it
        ("1.4.0", IntentKind.ABORT),
    ]:
        world.versions.add(version)
        status = effects.survive(world.start)
        while not status.phase.is_final():
            said = until is not None and status.phase is REACHED.get(strategy, Phase.CANARY)
            if said:
                world.say(status, until)
            if status.phase.is_measured():
                world.serve(6000, 6000)
            # A promotion needs them; more would be passes in which nothing happens.
            slices = 1 if said or status.following is not None else None
            status = world.passes(status.release_id, 1, 5 if said else 24 * 3600, effects.survive, slices)
            assert not status.pauses, status.note  # nothing here would end it
            if said and until is IntentKind.RESUME:
                break
    return effects.count


@pytest.mark.slow
@every_strategy
def test_killed_after_any_effect_the_end_is_the_same(make_world, strategy):
    """After a quarter of the effects; after each with `make test-deep`."""
    undisturbed = world_with_champion(make_world, strategy)
    effects = play(undisturbed, strategy, None)
    wanted = ends(undisturbed)
    assert ENDS[strategy] in wanted["phases"][:-1]
    for kill_at in sorted(random.Random(strategy).sample(range(1, effects + 1), examples(effects))):
        world = world_with_champion(make_world, strategy)
        play(world, strategy, kill_at)
        assert ends(world) == wanted, f"killed after effect {kill_at} of {effects}"
