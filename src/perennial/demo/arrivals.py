"""Finished cycles of the demo: their executions go into the history, their features online."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pandas as pd

from perennial.core.spec import ModelSpec
from perennial.demo.scenario import DemoScenario
from perennial.history import features as feature_tables
from perennial.history.store import HistoryStore
from perennial.ports import Features

AGAIN = 15
"""Cycles whose features are published again with the newest: a training publishes those of its own, older data."""
IDLE = 1.0
"""Seconds without a finished cycle after which the history takes those before: features are waited for, it is not."""


class Arrivals:
    """Publishes the features of finished cycles and adds these to the history, in a thread of its own.

    What is online is what was known when the next cycle began: a cycle that overlaps it is published after it, as the
    point-in-time join of a training has it.
    """

    def __init__(
        self, scenario: DemoScenario, spec: ModelSpec, store: HistoryStore, features: Features
    ) -> None:
        self._scenario = scenario
        self._spec = spec
        self._store = store
        self._features = features
        self._begins = feature_tables.cycle_times(scenario.frame)["started_at"]
        self._turn = threading.Condition()
        self._finished = self._published = self._stored = scenario.known_until
        """Last cycles that have ended, whose features are online, and that are in the history."""
        self._closed = self._ended = False
        self.trainings_ended = False
        """True when no training publishes any more."""
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="arrivals", daemon=True)
        self._thread.start()

    def first(self) -> int:
        """Store the training cycles of the first champion; returns the number of executions."""
        self._store.record_source(
            self._spec.data.history, self._scenario.source, self._scenario.why, datetime.now(UTC)
        )
        return self._append(0, self._scenario.known_until)

    def cycle(self, number: int) -> None:
        """Queue a finished cycle."""
        with self._turn:
            self._finished = number
            self._turn.notify_all()

    def wait_published(self) -> None:
        """Wait until the features of all finished cycles are online; with an error, or closed, at once."""
        with self._turn:
            self._turn.wait_for(lambda: self._ended or self._published >= self._finished)

    def close(self) -> None:
        with self._turn:
            self._closed = True
            self._turn.notify_all()
        self._thread.join(timeout=60)

    def _work(self) -> None:
        try:
            while not self._closed:
                with self._turn:
                    self._turn.wait_for(lambda: self._closed or self._published < self._finished, IDLE)
                    finished = self._finished
                if self._published < finished:
                    self._publish(finished)
                elif self._stored < finished:
                    self._append(self._stored, finished)
                    self._stored = finished
            if self._stored < self._finished:
                self._append(self._stored, self._finished)
        except Exception as error:  # noqa: BLE001 the demo raises it
            self.error = error
        with self._turn:
            self._ended = True
            self._turn.notify_all()

    def _append(self, after: int, until: int) -> int:
        frame = self._scenario.frame
        return self._store.append(
            self._spec.data.history, frame[(frame["cycle"] > after) & (frame["cycle"] <= until)]
        )

    def _publish(self, finished: int) -> None:
        """Publish the newest state of what ran in the cycles since the last pass, as known when the next one begins."""
        since = self._published if self.trainings_ended else min(self._published, finished - AGAIN)
        after, until = self._known_at(since), self._known_at(finished)
        rows = {}
        for name, view in self._scenario.prepared.views.items():
            known = view["event_timestamp"]
            rows[name] = view[(known > after) & (known <= until)]
        self._features.push(rows)
        with self._turn:
            self._published = finished
            self._turn.notify_all()

    def _known_at(self, cycle: int) -> pd.Timestamp:
        """Return the start of the cycle after this one; of the last cycle a time after its end."""
        later = self._begins[self._begins.index > cycle]
        return later.iloc[0] if len(later) else pd.Timestamp.max.tz_localize("UTC")
