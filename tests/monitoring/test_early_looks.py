"""Looks before their time: only where enough rows are new and a watched column moved among them."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
from doubles.answers import START, answered

from perennial import catalog
from perennial.core.monitoring.screen import Screen, fewest_new, stirred
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

    def look(self) -> None:
        window = self.watched.rows(SPEC, DIGEST, None, self.at).window(self.at).rows
        self.early.looked(SPEC, DIGEST, self.reference, window)

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
