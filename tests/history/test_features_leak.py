"""No feature knows the future: proven through the point-in-time join that training uses."""

from __future__ import annotations

import functools

import pandas as pd
import pytest
from examples import examples
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from perennial import catalog
from perennial.history import schema
from perennial.history.prepare import prepare
from perennial.history.simulator import SimulationScenario, simulate
from perennial.installation import HERE

pytestmark = pytest.mark.slow

SPEC = catalog.spec("test_failure_predictor")
NAMES = list(SPEC.features.names)
KEYS = ["cycle", "suite", "test_id"]
START = pd.Timestamp("2025-01-06", tz="UTC")

RUN = st.fixed_dictionaries(
    {
        "cycle": st.integers(1, 6),
        "test_id": st.sampled_from(["a", "b", "c"]),
        "suite": st.sampled_from(["ci", "nightly"]),
        # Cycles may overlap, come out of order and take no time at all.
        "minute": st.integers(-200, 200),
        "duration_ms": st.sampled_from([0, 1, 60_000, 40_000_000]),
        "verdict": st.integers(0, 1),
    }
)
# Each example costs two preparations and two joins.
MANY = settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.too_slow])


@functools.cache
def port():
    from perennial.adapters.feast.features import FeastFeatures

    return FeastFeatures(HERE / "feature_repo", HERE / "nowhere", lambda: [SPEC])


def frame(runs):
    rows = pd.DataFrame(runs)
    started = START + pd.to_timedelta(rows["cycle"] * 720 + rows["minute"], unit="min")
    columns = {"execution_id": [f"{n}" for n in range(len(rows))], "started_at": started, "area": ""}
    return schema.conform(rows.drop(columns="minute").assign(**columns), "test")


def joined(history, views=None):
    """Example key -> features, as training would see them."""
    made = prepare(history)
    rows = port().join(SPEC.features, made.examples, views or made.views)
    return rows.set_index(KEYS)[NAMES]


@MANY
@given(st.lists(RUN, min_size=2, max_size=30), st.lists(RUN, max_size=15), st.integers(1, 6))
def test_whatever_happens_later_moves_no_feature_of_earlier_cycles(runs, other, cycle):
    past = [run for run in runs if run["cycle"] < cycle]
    assume(past)
    before = joined(frame(runs))
    after = joined(frame(past + [run for run in other if run["cycle"] >= cycle]))
    earlier = before.index.get_level_values("cycle") < cycle
    pd.testing.assert_frame_equal(before[earlier], after.loc[before[earlier].index], check_exact=True)


@MANY
@given(st.lists(RUN, min_size=1, max_size=30), st.integers(1, 6), st.randoms(use_true_random=False))
def test_the_results_of_a_cycle_move_none_of_its_own_features(runs, cycle, random):
    assume(any(run["cycle"] == cycle for run in runs))
    before = joined(frame(runs))
    changed = [
        run | {"verdict": random.randint(0, 1), "duration_ms": random.randint(0, 10**8)}
        if run["cycle"] >= cycle
        else run
        for run in runs
    ]
    after = joined(frame(changed))
    until = before.index.get_level_values("cycle") <= cycle
    pd.testing.assert_frame_equal(before[until], after.loc[before[until].index], check_exact=True)


@MANY
@given(st.lists(RUN, min_size=2, max_size=30), st.integers(1, 6))
def test_a_cycle_that_is_taken_out_leaves_its_own_features_as_they_were(runs, cycle):
    history = frame(runs)
    rest = history[history["cycle"] != cycle]
    assume(0 < len(rest) < len(history))
    # The stamps of later cycles may depend on this one's, so only what is before it stays to be joined.
    without = prepare(rest).views
    own = joined(history).query("cycle == @cycle")
    seen = joined(history, without).query("cycle == @cycle")
    pd.testing.assert_frame_equal(own, seen, check_exact=True)


def test_another_future_of_a_long_history_moves_nothing_before_it():
    history = simulate(SimulationScenario(cycles=60, tests=60))
    before = joined(history)
    for cycle in (10, 35, 60):
        other = history.copy()
        later = other["cycle"] >= cycle
        other.loc[later, "verdict"] = 1 - other.loc[later, "verdict"]
        other.loc[later, "duration_ms"] *= 7
        after = joined(other)
        until = before.index.get_level_values("cycle") <= cycle
        pd.testing.assert_frame_equal(before[until], after.loc[before[until].index], check_exact=True)
        if cycle < 60:
            assert not before[~until].equals(after[~until])
