"""A seeded simulator of a CI history, with learnable failures and drifts at known cycles.

Each test belongs to a code area, breaks with its own probability when its area is touched, stays broken until it
is fixed, and may be flaky: it then fails sometimes without being broken, and a failed run is retried at once. A
commit batch touches a few areas; their tests run, and a sample of the other tests. The probabilities to break
rise slowly over the whole history (a trend).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field, PositiveInt

from perennial.core.frozen import Frozen, Share
from perennial.history import schema

DriftKind = Literal["failure_rate", "flakiness", "duration", "new_tests", "area_shift"]


class Drift(Frozen):
    """A lasting change that begins at a known cycle.

    Meaning of `strength` by kind:
        failure_rate: tests hit (`share` of all) fail with this added chance in each run, as on a bad rig.
        flakiness: tests hit become flaky with this chance in each run.
        duration: runs of the tests hit take this many times as long.
        new_tests: `share` of the tests did not exist before; their chance to break is this many times
            as high.
        area_shift: work moves to other areas; those are touched this many times as often as before.
    """

    kind: DriftKind
    at_cycle: PositiveInt
    strength: float = Field(gt=0)
    share: Annotated[float, Field(gt=0, le=1)]


class SimulationScenario(Frozen):
    """All parameters of a simulated history; the same scenario gives the same history."""

    seed: int = 7
    cycles: PositiveInt = 200
    tests: PositiveInt = 220
    areas: PositiveInt = 12
    suite: str = "ci"
    start: datetime = datetime(2025, 1, 6, 8, tzinfo=UTC)
    every: timedelta = timedelta(hours=12)
    touched: PositiveInt = Field(2, description="areas a commit batch touches, on average")
    sampled: Share = Field(0.35, description="chance to run for a test whose area is not touched")
    breaks: Share = Field(0.1, description="mean chance to break when the area is touched")
    fixed: Share = Field(0.6, description="chance per cycle that a broken test is mended")
    flaky: Share = Field(0.2, description="share of tests that are flaky")
    flake: Share = Field(0.4, description="highest chance of a flaky failure in a run")
    retries: int = Field(1, ge=0, description="repetitions of a failing run of a flaky test")
    trend: float = Field(0.3, ge=0, description="relative rise of the chance to break, first to last cycle")
    drifts: tuple[Drift, ...] | None = Field(
        None, description="None plants a failure_rate drift at 60 % of the cycles"
    )

    @property
    def planted(self) -> tuple[Drift, ...]:
        """Return the drifts that `simulate` plants."""
        if self.drifts is not None:
            return self.drifts
        return (
            Drift(kind="failure_rate", at_cycle=max(1, int(self.cycles * 0.6)), strength=0.75, share=0.4),
        )


class _World:
    """Hidden state of the simulated project. Arrays have a value per test."""

    def __init__(self, scenario: SimulationScenario, rng: np.random.Generator) -> None:
        count = scenario.tests
        self.area = rng.integers(scenario.areas, size=count)
        # A beta distribution with a small first parameter: most tests rarely break, a few often.
        self.breaks = rng.beta(0.5, 0.5 / scenario.breaks - 0.5, size=count)
        self.flake = np.where(rng.random(count) < scenario.flaky, rng.uniform(0.05, 1, count), 0.0)
        self.flake *= scenario.flake
        self.added = np.zeros(count)
        self.duration = rng.lognormal(mean=np.log(4000), sigma=1.0, size=count)
        self.interest = rng.dirichlet(np.full(scenario.areas, 2.0))
        self.born = np.ones(count, dtype=np.int64)
        self.broken = rng.random(count) < self.breaks
        self.hits = {drift: rng.random(count) < drift.share for drift in scenario.planted}
        self._new_areas = rng.permutation(scenario.areas)
        for drift, hit in self.hits.items():
            if drift.kind == "new_tests":
                self.born[hit] = drift.at_cycle

    def begin(self, drift: Drift) -> None:
        """Start a drift."""
        hit = self.hits[drift]
        if drift.kind == "failure_rate":
            self.added[hit] = np.minimum(1.0, self.added[hit] + drift.strength)
        elif drift.kind == "flakiness":
            self.flake[hit] = np.minimum(1.0, np.maximum(self.flake[hit], drift.strength))
        elif drift.kind == "duration":
            self.duration[hit] *= drift.strength
        elif drift.kind == "new_tests":
            self.breaks[hit] = np.minimum(1.0, self.breaks[hit] * drift.strength)
        elif drift.kind == "area_shift":
            chosen = self._new_areas[: max(1, round(drift.share * len(self.interest)))]
            self.interest[chosen] *= drift.strength
            self.interest /= self.interest.sum()

    def commit(self, scenario: SimulationScenario, cycle: int, rng: np.random.Generator) -> np.ndarray:
        """Break and fix tests by a commit batch; return a mask of the tests that run."""
        areas = min(len(self.interest), 1 + rng.poisson(scenario.touched - 1))
        touched = np.isin(self.area, rng.choice(len(self.interest), areas, replace=False, p=self.interest))
        grown = 1 + scenario.trend * (cycle - 1) / max(1, scenario.cycles - 1)
        exists = self.born <= cycle
        mended = self.broken & (rng.random(len(touched)) < scenario.fixed)
        fresh = touched & exists & (rng.random(len(touched)) < np.minimum(1.0, self.breaks * grown))
        self.broken = (self.broken & ~mended) | fresh
        # A test known to be broken always runs.
        return exists & (touched | self.broken | (rng.random(len(touched)) < scenario.sampled))


def simulate(scenario: SimulationScenario) -> pd.DataFrame:
    """Simulate a history; execution ids name seed, cycle, test and attempt."""
    rng = np.random.default_rng(scenario.seed)
    world = _World(scenario, rng)
    cycles = []
    for cycle in range(1, scenario.cycles + 1):
        for drift in scenario.planted:
            if drift.at_cycle == cycle:
                world.begin(drift)
        runs = np.flatnonzero(world.commit(scenario, cycle, rng))
        jitter = timedelta(minutes=float(rng.uniform(0, 60)))
        begin = scenario.start + scenario.every * (cycle - 1) + jitter
        cycles.append(_run(world, scenario, cycle, runs, begin, rng))
    return schema.conform(pd.concat(cycles), f"simulation with seed {scenario.seed}")


def _run(
    world: _World,
    scenario: SimulationScenario,
    cycle: int,
    tests: np.ndarray,
    begin: datetime,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Return the executions of a cycle in sequence, retries directly after their first run."""
    rows = []
    for test in tests:
        for attempt in range(1 + scenario.retries):
            chance = 1.0 if world.broken[test] else 1 - (1 - world.flake[test]) * (1 - world.added[test])
            failed = bool(rng.random() < chance)
            took = int(world.duration[test] * rng.lognormal(0, 0.15)) + 1
            rows.append((test, attempt, took, failed))
            if not failed or world.flake[test] == 0:
                break
    frame = pd.DataFrame(rows, columns=["test", "attempt", "duration_ms", "verdict"])
    # Tests run on eight machines: the clock of the cycle moves by an eighth of the work done.
    offset = (frame["duration_ms"].cumsum() - frame["duration_ms"]) / 8
    ids = frame["test"].map("t{:04d}".format)
    return pd.DataFrame(
        {
            "execution_id": f"sim:{scenario.seed}:{cycle}:" + ids + ":" + frame["attempt"].astype(str),
            "suite": scenario.suite,
            "test_id": ids,
            "cycle": cycle,
            "started_at": pd.Timestamp(begin) + pd.to_timedelta(offset.astype("int64"), unit="ms"),
            "duration_ms": frame["duration_ms"],
            "verdict": frame["verdict"].astype(int),
            "area": [f"area{world.area[test]:02d}" for test in frame["test"]],
        }
    )
