"""Scenario of the demo: the CI history, what the first champion knows of it, and what is kept for the effect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from perennial.errors import ChecksumMismatch, DatasetMissing
from perennial.history import prepare
from perennial.history.simulator import Drift, SimulationScenario, simulate


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

    kept_from: int
    """First cycle that is kept for the effect of the retraining."""

    @cached_property
    def prepared(self) -> prepare.Prepared:
        """Return the features of all cycles, each with the time from which it is known, and a row per test of each."""
        return prepare.prepare(self.frame)

    @property
    def examples(self) -> pd.DataFrame:
        """Return a row per test of each cycle that the first champion does not know."""
        rows = self.prepared.examples
        return rows[rows["cycle"] > self.known_until]


IOFROL_KNOWN, IOFROL_SHIFT, IOFROL_KEPT = 18, 19, 149
"""The first month: few cycles, in most of which nearly every test fails. What follows for a year is different."""
SIMULATED_KNOWN, SIMULATED_SHIFT, SIMULATED_KEPT = 30, 32, 150
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
            kept_from=SIMULATED_KEPT,
        )
    return DemoScenario(
        source="iofrol",
        why="real test executions of ABB Robotics; the first champion learns from their first month",
        frame=iofrol.read(path),
        known_until=IOFROL_KNOWN,
        shifted_from=IOFROL_SHIFT,
        shift="from here on the cycles are those after its month",
        kept_from=IOFROL_KEPT,
    )
