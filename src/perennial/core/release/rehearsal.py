"""Before a release starts: how likely would its steps catch a bad candidate, and spare a good one?

Seeded Monte Carlo over `perennial.core.release.simulated_step`, so the same question has the same answer.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from perennial.core.frozen import Frozen
from perennial.core.release.simulated_step import (
    CandidateHarm,
    SimulatedStep,
    TrafficProfile,
    simulate,
    simulated_steps,
)
from perennial.core.spec import CriteriaSpec, ReleaseSpec

HEALTHY = CandidateHarm(name="healthy")
HARMS = (
    CandidateHarm(name="doubled error rate", error_factor=2.0),
    CandidateHarm(name="1.5 x latency", latency_factor=1.5),
    CandidateHarm(name="5 points less accuracy", accuracy_drop=0.05),
)
POOR = 0.5
"""A chance to catch a harm below this is worth a warning."""
RELEASES, LOOKS = 2500, 120
"""A release looks every two seconds; with 40 looks a chance near one third is told two points too low."""
ADVICE_RELEASES, ADVICE_LOOKS = 400, 12
LONGEST_HOURS = 14 * 24.0
HEAVIEST = 50.0


class Advice(Frozen):
    """A weight and a duration with which one step catches the harm more often than not."""

    weight: float
    hours: float
    mirror: bool = False

    def __str__(self) -> str:
        span = f"{self.hours:.3g} h" if self.hours < 48 else f"{self.hours / 24:.3g} days"
        return f"a shadow of {span}" if self.mirror else f"{self.weight:g} % for {span}"


class StepOdds(Frozen):
    """Of the releases that reach a step, the shares that end there, by harm."""

    step: str
    weight: float
    hours: float
    caught: dict[str, float] = Field(description="aborted, by name of the harm and `healthy`")
    asks: dict[str, float] = Field(description="stopped for a person's decision, likewise")
    advice: dict[str, Advice | None] = Field(
        description="for harms caught less often than not; None: none does"
    )


class Rehearsal(Frozen):
    traffic: TrafficProfile
    steps: tuple[StepOdds, ...]
    caught: dict[str, float] = Field(description="aborted anywhere on the way, by harm and `healthy`")
    asks: dict[str, float] = Field(description="a person is asked on the way")
    promoted: dict[str, float] = Field(description="gets all traffic without anybody being asked")

    @property
    def false_aborts(self) -> float:
        return self.caught[HEALTHY.name]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Harms that the release would rather miss than catch, with what would do."""
        return tuple(self._warning(harm.name) for harm in HARMS if self.caught[harm.name] < POOR)

    def _warning(self, harm: str) -> str:
        told = f"{harm}: caught in {self.caught[harm]:.0%} of releases"
        searched = [one.advice[harm] for one in self.steps if harm in one.advice]
        if not searched:
            return told
        found = [advice for advice in searched if advice is not None]
        if not found:
            return f"{told}; no step of two weeks would do"
        return f"{told}; {min(found, key=lambda one: one.hours)} would do"


def rehearse(
    policy: ReleaseSpec,
    traffic: TrafficProfile,
    seed: int,
    releases: int = RELEASES,
    looks: int = LOOKS,
    advise: bool = True,
    servers: int = 2,
) -> Rehearsal:
    """The odds of every step of the policy under this traffic.

    Args:
        releases: simulated for each harm; the standard error of a chance is at most 0.5 / sqrt(releases).
        looks: at each step, evenly spaced.
        advise: also search what would do where a step catches a harm in less than half of the releases.
        servers: of the stable pool, for a strategy that goes server by server.
    """
    generator = np.random.default_rng(seed)
    steps = [
        _odds(policy.criteria, one, traffic, releases, looks, generator, advise)
        for one in simulated_steps(policy, traffic, servers)
    ]
    caught, asks, promoted = {}, {}, {}
    for harm in (HEALTHY, *HARMS):
        reach, bad, asked = 1.0, 0.0, 0.0
        for step in steps:
            bad += reach * step.caught[harm.name]
            asked += reach * step.asks[harm.name]
            reach *= max(0.0, 1.0 - step.caught[harm.name] - step.asks[harm.name])
        caught[harm.name], asks[harm.name], promoted[harm.name] = bad, asked, reach
    return Rehearsal(traffic=traffic, steps=tuple(steps), caught=caught, asks=asks, promoted=promoted)


def _odds(
    criteria: CriteriaSpec,
    stage: SimulatedStep,
    traffic: TrafficProfile,
    releases: int,
    looks: int,
    generator,
    advise: bool,
) -> StepOdds:
    caught, asks, advice = {}, {}, {}
    for harm in (HEALTHY, *HARMS):
        seen = simulate(criteria, stage, traffic, harm, releases, looks, generator)
        caught[harm.name] = float(seen.failed.mean())
        asks[harm.name] = float((~seen.failed & ~seen.passed).mean())
        if advise and harm is not HEALTHY and caught[harm.name] < POOR:
            advice[harm.name] = _advice(criteria, stage, traffic, harm, generator)
    return StepOdds(
        step=stage.name, weight=stage.weight, hours=stage.hours, caught=caught, asks=asks, advice=advice
    )


def _advice(
    criteria: CriteriaSpec, stage: SimulatedStep, traffic: TrafficProfile, harm: CandidateHarm, generator
) -> Advice | None:
    """The shortest step of the same weight, else of half the traffic, that catches the harm half the time."""

    def power(weight: float, hours: float) -> float:
        tried = stage.model_copy(update={"weight": weight, "hours": hours, "wait": 0.0})
        seen = simulate(criteria, tried, traffic, harm, ADVICE_RELEASES, ADVICE_LOOKS, generator)
        return float(seen.failed.mean())

    for weight in dict.fromkeys((stage.weight, max(stage.weight, HEAVIEST))):
        if power(weight, LONGEST_HOURS) < POOR:
            continue
        short, long = 0.0, LONGEST_HOURS
        for _ in range(9):
            middle = (short + long) / 2.0
            short, long = (short, middle) if power(weight, middle) >= POOR else (middle, long)
        return Advice(weight=weight, hours=round(long, 1), mirror=stage.mirror)
    return None
