"""Looks before their time: only where enough rows are new and a watched column moved among them."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
from doubles.answers import START, answered

from perennial import catalog
from perennial.core.monitoring.drift import SCORE, ColumnDrift
from perennial.core.monitoring.levels import is_held_back
from perennial.core.monitoring.screen import Screen, fewest_again, fewest_new, stirred
from perennial.flows.monitoring.following.early import EarlyLooks
from perennial.flows.monitoring.following.watched_log import WatchedLog
from perennial.serving.following.growing import GrowingPredictionLog
from perennial.serving.prediction_log import PredictionLogWriter
from perennial.settings import Settings

SHIPPED = catalog.spec("test_failure_predictor", Settings(spec_overlay=None))
SMALL = {"window": 160, "min_window": 100}
SPEC = SHIPPED.model_copy(update={"name": "m", "monitoring": SHIPPED.monitoring.model_copy(update=SMALL)})
NAMES = SPEC.features.names
DIGEST = "d" * 64
FEWEST = fewest_new(160)


class Watch:
    """A server that logs, and a monitor that looks."""

    def __init__(self, folder) -> None:
        self.folder, self.at, self.rng = folder, START, np.random.default_rng(5)
        self.server = PredictionLogWriter(folder, "stable", "w")
        self.reference = pd.DataFrame(self.rng.normal(size=(2000, len(NAMES))), columns=list(NAMES))
        self.reference["score"] = self.rng.random(2000)
        self.start()

    def start(self) -> None:
        self.watched = WatchedLog(GrowingPredictionLog(self.folder))
        self.early = EarlyLooks(self.watched)

    def answer(self, count: int, shift: float = 0.0) -> None:
        for number in range(count):
            self.at += timedelta(seconds=1)
            features = self.rng.normal(shift, 1, (1, len(NAMES))).astype(np.float32)
            scores = self.rng.random(1).astype(np.float32)
            request = f"{self.at.timestamp()}-{number}"
            self.server.append(
                answered(self.at, names=NAMES, features=features, scores=scores, request_id=request)
            )

    def look(self, drifts=()) -> None:
        window = self.watched.rows(SPEC, DIGEST, None, self.at).window(self.at).rows
        self.early.looked(SPEC, DIGEST, self.reference, window, drifts)

    def due(self) -> bool:
        return self.early.due(SPEC, self.at)


def test_a_shift_is_due_when_the_smallest_judged_part_of_the_window_is_new(tmp_path):
    watch = Watch(tmp_path)
    watch.answer(200)
    assert not watch.due(), "no look was yet"
    watch.look()
    watch.answer(FEWEST - 1, shift=2)
    assert not watch.due()
    watch.answer(1, shift=2)
    assert watch.due()
    watch.look()
    assert not watch.due(), "the look has seen it"


def drifts(certain_p: float) -> list[ColumnDrift]:
    """Return proven drifts of two features, as far as a warning, with what a budget allows at 1e-6."""
    return [
        ColumnDrift(
            column=name, psi=0.9, allowance=0.1, p=0.001, level=0.01, certain_p=certain_p, warn_level=1e-6
        )
        for name in NAMES[:2]
    ]


def test_a_proven_drift_that_the_budget_holds_back_is_looked_at_again_soon_for_a_window(tmp_path):
    watch, few = Watch(tmp_path), fewest_again(160)
    watch.answer(200)
    watch.look()
    for _ in range(160 // few):
        watch.answer(few - 1, shift=2)
        watch.look(drifts(1e-4))
        assert not watch.due()
        watch.answer(few - 1, shift=2)
        assert not watch.due()
        watch.answer(1, shift=2)
        if not watch.due():
            break
    assert watch.at >= START + timedelta(seconds=200 + 160), (
        "what a window of rows does not make certain can wait"
    )
    watch.look(drifts(1e-7))
    watch.answer(few, shift=2)
    assert not watch.due(), "a warning was sent"


def test_a_warning_is_held_back_where_only_the_budget_forbids_it():
    policy = SPEC.monitoring
    assert is_held_back(policy, drifts(1e-4))
    assert not is_held_back(policy, drifts(1e-7))
    assert not is_held_back(policy, drifts(1e-4)[:1]), "one feature alone never warns"
    alone = [drift.model_copy(update={"column": SCORE}) for drift in drifts(1e-4)[:1]]
    assert is_held_back(policy, alone)
    unproven = [drift.model_copy(update={"p": 0.5}) for drift in drifts(1e-4)]
    assert not is_held_back(policy, unproven)


def test_traffic_as_before_is_not_due_and_a_monitor_that_starts_looks_first(tmp_path):
    watch = Watch(tmp_path)
    watch.answer(400)
    watch.look()
    watch.answer(10)
    assert not watch.due()
    watch.start()
    watch.answer(FEWEST, shift=2)
    assert not watch.due()
    watch.look()
    watch.answer(2)
    assert not watch.due()


def test_the_screen_grows_with_the_newest_part_that_moved():
    rng = np.random.default_rng(0)
    screen = Screen.of({"a": rng.normal(size=4000), "b": rng.normal(size=4000)}, 10)
    window = {name: rng.normal(size=1600) for name in "ab"}
    before = screen.figures(window)
    assert before.shape == (2, 4)
    assert not stirred(before, screen.figures({name: rng.normal(size=1600) for name in "ab"}), 0.2)
    window["b"] = np.r_[window["b"][200:], rng.normal(1, 1, 200)]
    after = screen.figures(window)
    assert stirred(before, after, 0.2)
    assert np.argmax((after - before).ravel()) == 7, "the newest eighth of b"
