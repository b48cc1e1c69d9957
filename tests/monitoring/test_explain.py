"""What a verdict on drift says besides its level: faults, beginnings, and what the traffic could have shown."""

from __future__ import annotations

import numpy as np
import pandas as pd
from doubles.drift import MemoryDrift

from perennial import catalog
from perennial.core.monitoring.drift import SCORE
from perennial.core.monitoring.levels import Level, verdict
from perennial.flows.monitoring.explain import explained
from perennial.settings import Settings

SPEC = catalog.spec("test_failure_predictor", Settings(spec_overlay=None))
NAMES = list(SPEC.features.names)
NOW = pd.Timestamp("2025-06-01 12:00", tz="UTC")


def rows(seed: int, count: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(rng.lognormal(size=(count, len(NAMES))), columns=NAMES)
    at = pd.date_range(end=NOW, periods=count, freq="min")
    return table.assign(
        at=at,
        **{SCORE: rng.random(count), "request": np.arange(count), SPEC.evaluation.group: np.arange(count)},
    )


def judge(window: pd.DataFrame):
    reference = rows(1, 3000)
    drifts = MemoryDrift().compare(SPEC, reference, window, None)
    judged = verdict(SPEC.monitoring, drifts, None, None, len(window))
    return explained(SPEC, reference, window, judged, NOW.to_pydatetime())


def test_silence_of_the_test_is_no_proof():
    seen = judge(rows(2, 700))
    assert seen.level is Level.OK
    assert seen.faults == ()
    assert any("this traffic shows a shift of 0." in reason for reason in seen.reasons)


def test_another_unit_is_a_fault_and_says_so():
    window = rows(2, 700)
    name = SPEC.monitoring.columns[0]
    seen = judge(window.assign(**{name: 1000 * window[name]}))
    assert seen.level is Level.WARN
    assert len(seen.faults) == 1
    assert any(name in reason and "a retraining would learn the fault" in reason for reason in seen.reasons)


def test_the_beginning_of_a_drift_is_a_time():
    window = rows(2, 700)
    name = SPEC.monitoring.columns[0]
    window.loc[400:, name] *= 4
    (since,) = (reason for reason in judge(window).reasons if reason.startswith(f"{name} moved since about"))
    at = pd.Timestamp(since.removeprefix(f"{name} moved since about ").removesuffix(" UTC"), tz="UTC")
    assert abs((at - window["at"].iloc[400]).total_seconds()) < 3600


def test_a_storm_of_equal_rows_is_a_watch():
    window = rows(2, 700)
    storm = window.assign(**{name: np.resize(window[name].to_numpy()[:20], 700) for name in NAMES})
    seen = judge(storm)
    assert seen.level.rank >= Level.WATCH.rank
    assert any("repeat another one exactly" in reason for reason in seen.reasons)
    assert not any("repeat" in reason for reason in judge(window).reasons)
