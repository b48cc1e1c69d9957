"""The simulator: the same seed is the same history, and its drifts do what they are named for."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from perennial import catalog
from perennial.core.monitoring.measured import measure
from perennial.history import prepare
from perennial.history.simulator import Drift, SimulationScenario, simulate

KNOWN, SHIFT = 110, 120
"""Last cycle of a calm history, and the cycle at which the default drift begins."""
SMALL = {"cycles": 40, "tests": 120}


def planted(kind, strength, share=0.5):
    drift = Drift(kind=kind, at_cycle=21, strength=strength, share=share)
    frame = simulate(SimulationScenario(**SMALL, drifts=(drift,)))
    return frame[frame["cycle"] <= 20], frame[frame["cycle"] > 20]


def test_the_same_scenario_gives_the_same_history():
    first = simulate(SimulationScenario(**SMALL))
    pd.testing.assert_frame_equal(simulate(SimulationScenario(**SMALL)), first)
    assert not simulate(SimulationScenario(**SMALL, seed=8)).equals(first)


def test_a_drift_changes_nothing_before_it_begins():
    calm = simulate(SimulationScenario(**SMALL, drifts=()))
    before, _ = planted("failure_rate", 0.5)
    same = calm[calm["cycle"] <= 20].drop(columns="verdict")
    assert set(before["test_id"]) <= set(calm["test_id"])
    assert len(before) == pytest.approx(len(same), rel=0.1)


def test_failure_rate_drift():
    before, after = planted("failure_rate", 0.6)
    assert after["verdict"].mean() > before["verdict"].mean() + 0.15


def test_flakiness_drift():
    before, after = planted("flakiness", 0.5)

    def mixed(frame):
        return frame.groupby(["cycle", "test_id"])["verdict"].nunique().gt(1).mean()

    assert mixed(after) > mixed(before) + 0.05


def test_duration_drift():
    before, after = planted("duration", 4.0, share=0.99)
    assert after["duration_ms"].median() > 2.5 * before["duration_ms"].median()


def test_new_tests_drift():
    before, after = planted("new_tests", 1.0, share=0.3)
    share = 1 - before["test_id"].nunique() / pd.concat([before, after])["test_id"].nunique()
    assert 0.15 < share < 0.45


def test_area_shift_drift():
    before, after = planted("area_shift", 20.0, share=0.2)
    counts = [frame["area"].value_counts(normalize=True) for frame in (before, after)]
    assert counts[1].sub(counts[0], fill_value=0).abs().sum() > 0.2


@pytest.fixture(scope="module")
def default():
    return simulate(SimulationScenario())


@pytest.fixture(scope="module")
def rows(default):
    """Examples of the default history with the test's features as known at their time."""
    prepared = prepare.prepare(default)
    view = prepared.views[prepare.TEST_VIEW].drop(columns=["suite", "created_timestamp"])
    examples = prepared.examples.sort_values("event_timestamp", kind="stable")
    joined = pd.merge_asof(examples, view, on="event_timestamp", by="test_id")
    return joined[joined["run_count"].notna()]


def between(rows, low, high):
    return rows[rows["cycle"].between(low, high)]


def test_the_default_history_is_small_enough_for_a_quick_training(default):
    assert default["cycle"].max() == 200
    assert 15_000 < len(default) < 25_000


def test_the_default_drift_raises_failures_where_the_demo_expects_it(default):
    rate = default.groupby("cycle")["verdict"].mean()
    training, calm, shifted = rate[:KNOWN].mean(), rate[KNOWN + 1 : SHIFT - 1].mean(), rate[SHIFT:150].mean()
    assert abs(calm - training) < 0.03
    assert shifted > 2 * training


def test_the_default_drift_moves_the_watched_features(rows):
    spec = catalog.spec("test_failure_predictor").monitoring
    reference = between(rows, 71, KNOWN)

    def moved(window, level):
        columns = {name: (reference[name].to_numpy(), window[name].to_numpy()) for name in spec.columns}
        found = measure(columns, reference["cycle"].to_numpy(), window["cycle"].to_numpy(), 10, 7)
        drifts = [drift for drift in found if drift.of_feature]
        return sum(drift.excess >= level for drift in drifts)

    assert moved(between(rows, KNOWN + 1, SHIFT - 1).tail(spec.window), spec.psi.warn) < spec.features_needed
    shifted = between(rows, SHIFT, 140).tail(spec.window)
    assert moved(shifted, spec.psi.retrain) >= spec.features_needed


def test_the_default_drift_changes_what_the_features_mean(rows):
    """A model of the time before loses accuracy; one that has seen the shift does better."""
    names = ["failure_rate", "recent_failures", "last_execution_status", "flakiness_score", "pass_rate_7d"]

    def fit(part):
        return LogisticRegression(max_iter=500).fit(part[names], part["failed"])

    def right(model, part):
        return np.mean(model.predict(part[names]) == part["failed"])

    old = fit(between(rows, 1, 70))
    calm, shifted = between(rows, KNOWN + 1, SHIFT - 1), between(rows, SHIFT, 150)
    assert 0.75 < roc_auc_score(calm["failed"], old.predict_proba(calm[names])[:, 1]) < 0.95
    assert right(old, calm) - right(old, shifted) > 0.1
    later = between(rows, 151, 200)
    assert right(fit(between(rows, SHIFT, 150)), later) > right(old, later) + 0.02
