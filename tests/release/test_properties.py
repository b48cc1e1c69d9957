"""Whatever people, tools and kills do: no traffic without approval, and the same end after a kill."""

from __future__ import annotations

import pytest
from examples import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from release_chaos import STEPS, Crowd, Effects, ends

from perennial.core.release.observation import Observation
from perennial.core.release.phase import Phase
from perennial.core.release.status import IntentKind
from perennial.core.release_spec import Strategy

MODEL = "test_failure_predictor"
SLOW = settings(
    max_examples=examples(120),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@SLOW
@given(steps=STEPS, strategy=st.sampled_from(list(Strategy)))
def test_no_path_gives_traffic_without_gate_and_approval(make_world, steps, strategy):
    """Whatever the strategy, also when it changes on the way."""
    crowd = Crowd(make_world())
    first = [("candidate", False), ("say", IntentKind.APPROVE), *[("pass", 2)] * 4]
    for step in [*first, ("strategy", strategy), ("candidate", False), *steps]:
        crowd.do(step)
    crowd.settle()


SCRIPT = [
    ("first", IntentKind.APPROVE, 5),
    ("second", None, 3600),
    ("second", None, 6 * 3600),
    ("second", IntentKind.PROMOTE, 5),
    ("second", None, 5),
    ("third", None, 3600),
    ("third", IntentKind.ABORT, 5),
    ("third", None, 5),
    ("fourth", None, 3600),
    ("fifth", None, 5),
    ("fifth", IntentKind.PROMOTE, 5),
]


def play(world, kill_at: int | None) -> int:
    """The script; returns how many outside effects it had. The effect `kill_at` kills the pass after it
    happened, and the pass is repeated."""
    effects = Effects(world, kill_at)
    version = {"first": "1.0.0", "second": "1.1.0", "third": "1.2.0", "fourth": "1.3.0", "fifth": "1.4.0"}
    release = {}
    for name, intent, seconds in SCRIPT:
        if name not in release:
            world.versions.add(version[name])
            release[name] = effects.survive(lambda: world.start())
            status = release[name]
        if intent is not None:
            world.say(release[name], intent)
        for _ in range(3):
            world.serve(400, 2000)
            status = world.passes(status.release_id, 1, seconds, effects.survive, slices=1)
    return effects.count


@pytest.mark.slow
def test_killed_after_any_effect_the_end_is_the_same(make_world):
    undisturbed = make_world()
    effects = play(undisturbed, None)
    wanted = ends(undisturbed)
    assert wanted["phases"][0] is Phase.SUCCEEDED
    assert set(wanted["phases"]) == {Phase.SUCCEEDED, Phase.ROLLED_BACK, Phase.SUPERSEDED}
    for kill_at in range(1, effects + 1):
        world = make_world()
        play(world, kill_at)
        assert ends(world) == wanted, f"killed after effect {kill_at} of {effects}"


@pytest.mark.parametrize("phase", list(Phase))
def test_final_phases_stay_and_the_others_know_what_to_do(world, phase):
    from perennial.core.release.decide import RULES, decide

    status = world.release_first().model_copy(update={"phase": phase})
    if phase.is_final():
        decision = decide(status, Observation(), world.now)
        assert (decision.status, decision.actions, decision.entries) == (status, (), ())
    else:
        assert phase in RULES
