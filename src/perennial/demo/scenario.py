"""Scenario of the demo: the CI history, what the first champion knows of it, and the ingestion of finished cycles."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from perennial.core.spec import ModelSpec
from perennial.demo.replay import Batch
from perennial.errors import ChecksumMismatch, DatasetMissing
from perennial.history import prepare
from perennial.history.simulator import Drift, SimulationScenario, simulate
from perennial.history.store import HistoryStore
from perennial.ports import Features

REPEATED = 60
"""Last cycles that are replayed again after all cycles: many, because single cycles are unusual."""


@dataclass(frozen=True)
class DemoScenario:
    """A history cut for the demo; cycle bounds are inclusive."""

    source: str
    why: str
    frame: pd.DataFrame
    known_until: int
    """Last cycle of the first champion's training data."""
    shifted_from: int
    """First cycle whose failures are not those that the first champion knows."""
    shift: str
    """That shift, in words for a person."""

    @property
    def examples(self) -> pd.DataFrame:
        """Return the requests of the replay: a row per test of each later cycle."""
        rows = prepare.prepare(self.frame).examples
        return rows[rows["cycle"] > self.known_until]

    def batches(self) -> Iterator[Batch]:
        """Return the later cycles in order, then the last ones again and again (not fresh: already learnt)."""
        cycles = [(int(number), rows) for number, rows in self.examples.groupby("cycle", sort=True)]
        fresh = ((number, rows, True) for number, rows in cycles)
        again = ((number, rows, False) for number, rows in itertools.cycle(cycles[-REPEATED:]))
        for number, rows, is_fresh in itertools.chain(fresh, again):
            requests = [(body(row), int(row.failed)) for row in rows.itertuples(index=False)]
            yield Batch(number, requests, is_fresh)


def body(row: Any) -> dict[str, Any]:
    """Return the request body for a test: will it fail in this cycle? A new test has unknown features."""
    return {
        "entities": [{"test_id": row.test_id, "suite": row.suite}],
        "context": {"cycle_size": int(row.cycle_size), "requested_at": row.requested_at.isoformat()},
        "allow_unknown": True,
    }


IOFROL_KNOWN, IOFROL_SHIFT = 18, 19
"""The first month: few cycles, in most of which nearly every test fails. What follows for a year is different."""
SIMULATED_KNOWN, SIMULATED_SHIFT = 30, 32
SIMULATED = SimulationScenario(
    drifts=(Drift(kind="failure_rate", at_cycle=SIMULATED_SHIFT, strength=0.75, share=0.4),)
)


def choose_scenario(fetch_iofrol: Callable[[], Path], scenario: SimulationScenario) -> DemoScenario:
    """Return the real CI history, or a simulation when it cannot be downloaded; `why` holds the reason."""
    from perennial.history import iofrol

    try:
        path = fetch_iofrol()
    except (DatasetMissing, ChecksumMismatch) as error:
        return DemoScenario(
            source=f"simulator (seed {scenario.seed})",
            why=f"the real data is not available ({error.message})",
            frame=simulate(scenario),
            known_until=SIMULATED_KNOWN,
            shifted_from=SIMULATED_SHIFT,
            shift="two tests of five begin to fail on a bad rig",
        )
    return DemoScenario(
        source="iofrol",
        why="real test executions of ABB Robotics; the first champion learns from their first month",
        frame=iofrol.read(path),
        known_until=IOFROL_KNOWN,
        shifted_from=IOFROL_SHIFT,
        shift="from here on the cycles are those after its month",
    )


class Arrivals:
    """Adds finished cycles to the history and publishes their online features.

    A thread does this for all cycles since its last pass, so that the replay does not wait for features.
    """

    def __init__(
        self, scenario: DemoScenario, spec: ModelSpec, store: HistoryStore, features: Features
    ) -> None:
        self._scenario = scenario
        self._spec = spec
        self._store = store
        self._features = features
        self._new = threading.Event()
        self._closed = threading.Event()
        self._arrived: list[int] = []
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="arrivals", daemon=True)
        self._thread.start()

    def first(self) -> int:
        """Store the training cycles of the first champion; returns the number of executions."""
        frame = self._scenario.frame
        self._store.record_source(
            self._spec.data.history, self._scenario.source, self._scenario.why, datetime.now(UTC)
        )
        return self._store.append(
            self._spec.data.history, frame[frame["cycle"] <= self._scenario.known_until]
        )

    def cycle(self, number: int) -> None:
        """Queue a finished cycle."""
        self._arrived.append(number)
        self._new.set()

    def close(self) -> None:
        self._closed.set()
        self._new.set()
        self._thread.join(timeout=60)

    def _work(self) -> None:
        try:
            while not self._closed.is_set():
                self._new.wait()
                self._new.clear()
                if self._arrived:
                    self._ingest(max(self._arrived))
        except Exception as error:  # noqa: BLE001 the demo raises it
            self.error = error

    def _ingest(self, until: int) -> None:
        frame = self._scenario.frame
        known = frame[frame["cycle"] <= until]
        self._store.append(self._spec.data.history, known[known["cycle"] > self._scenario.known_until])
        views = prepare.prepare(known).views
        newest = {
            name: view.sort_values("event_timestamp").groupby(entity, as_index=False).tail(1)
            for (name, view), entity in zip(views.items(), ("test_id", "suite"), strict=True)
        }
        recent = newest[prepare.TEST_VIEW]
        started = known.loc[known["cycle"] > until - 15, "started_at"].min()
        newest[prepare.TEST_VIEW] = recent[recent["event_timestamp"] >= started]
        self._features.push(newest)
