"""Estimate before a release starts how likely its steps are to catch a bad candidate and to spare a good one.

Seeded Monte Carlo over `perennial.core.release.analysis.simulated_step`: the same arguments give the same result.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from perennial.core.frozen import Frozen
from perennial.core.release.analysis.simulated_labels import LabelHistory
from perennial.core.release.analysis.simulated_step import (
    SimulatedStep,
    simulate,
    simulated_steps,
)
from perennial.core.release.analysis.traffic_profile import CandidateHarm, TrafficProfile
from perennial.core.release_spec import CriteriaSpec, ReleaseSpec

HEALTHY = CandidateHarm(name="healthy")
DOUBLED = CandidateHarm(name="doubled error rate", error_factor=2.0)
HARMS = (
    DOUBLED,
    CandidateHarm(name="1.5 x latency", latency_factor=1.5),
    CandidateHarm(name="5 points less accuracy", accuracy_drop=0.05),
)
POOR = 0.5
"""A chance to catch a harm below this is worth a warning."""
UNASKED = 0.05
"""A chance that doubled errors are promoted unasked above this is worth a warning."""
OFTEN = 0.2
"""A chance that a healthy release asks a person above this is worth a warning."""
RELEASES, LOOKS = 2500, 120
"""A release looks every two seconds; with 40 looks a chance near one third comes out two points too low."""
ADVICE_RELEASES, ADVICE_LOOKS = 400, 12
LONGEST_HOURS = 14 * 24.0
HEAVIEST = 50.0


class Advice(Frozen):
    """A weight and a duration with which a step catches the harm more often than not."""

    weight: float
    hours: float
    mirror: bool = False

    def __str__(self) -> str:
        span = f"{self.hours:.3g} h" if self.hours < 48 else f"{self.hours / 24:.3g} days"
        return f"a shadow of {span}" if self.mirror else f"{self.weight:g} % for {span}"


class StepOdds(Frozen):
    """Shares of the releases that end in a step, of those that reach it, by harm."""

    step: str
    weight: float
    hours: float
    caught: dict[str, float] = Field(description="aborted, by name of the harm and `healthy`")
    asks: dict[str, float] = Field(description="stopped for a person's decision, by the same names")
    advice: dict[str, Advice | None] = Field(
        description="for harms caught less often than not; None: no step would do"
    )


class Rehearsal(Frozen):
    """Chances of a whole release under a traffic profile, by harm and `healthy`."""

    traffic: TrafficProfile
    steps: tuple[StepOdds, ...]
    caught: dict[str, float] = Field(description="aborted in any step")
    asks: dict[str, float] = Field(description="a person is asked in any step")
    promoted: dict[str, float] = Field(description="gets all traffic without a question to a person")

    @property
    def false_aborts(self) -> float:
        """Chance that a healthy candidate is aborted."""
        return self.caught[HEALTHY.name]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Harms that the release misses more often than catches, each with a step that would do, and doubts."""
        missed = tuple(self._warning(harm.name) for harm in HARMS if self.caught[harm.name] < POOR)
        return (*missed, *self._doubts)

    @property
    def _doubts(self) -> tuple[str, ...]:
        """Return what the release cannot tell by itself under this traffic."""
        doubts = []
        asked, passed = self.asks[HEALTHY.name], self.promoted[DOUBLED.name]
        if passed > UNASKED:
            doubts.append(
                f"{DOUBLED.name}: promoted without a question in {passed:.0%} of releases: cannot tell it from a "
                "healthy one; name a smaller error_rate_increase"
            )
        if asked > OFTEN:
            doubts.append(
                f"a person is asked in {asked:.0%} of healthy releases: this traffic cannot tell them from bad ones"
            )
        return tuple(doubts)

    def _warning(self, harm: str) -> str:
        warning = f"{harm}: caught in {self.caught[harm]:.0%} of releases"
        searched = [step.advice[harm] for step in self.steps if harm in step.advice]
        if not searched:
            return warning
        advice = [advised for advised in searched if advised is not None]
        if not advice:
            return f"{warning}; no step of two weeks would do"
        return f"{warning}; {min(advice, key=lambda advised: advised.hours)} would do"


def rehearse(
    policy: ReleaseSpec,
    traffic: TrafficProfile,
    seed: int,
    releases: int = RELEASES,
    looks: int = LOOKS,
    advise: bool = True,
    servers: int = 2,
) -> Rehearsal:
    """Return the odds of every step of the policy under this traffic.

    Args:
        releases: simulated for each harm; the standard error of a chance is at most 0.5 / sqrt(releases).
        looks: at each step, evenly spaced.
        advise: also search a better step where a step catches a harm in less than half of the releases.
        servers: size of the stable pool, for a strategy that goes server by server.
    """
    generator = np.random.default_rng(seed)
    labels: dict[str, LabelHistory] = {}
    steps = [
        _odds(policy.criteria, step, traffic, releases, looks, generator, advise, labels)
        for step in simulated_steps(policy, traffic, servers)
    ]
    caught, asks, promoted = {}, {}, {}
    for harm in (HEALTHY, *HARMS):
        reach, aborted, asked = 1.0, 0.0, 0.0
        for step in steps:
            aborted += reach * step.caught[harm.name]
            asked += reach * step.asks[harm.name]
            reach *= max(0.0, 1.0 - step.caught[harm.name] - step.asks[harm.name])
        caught[harm.name], asks[harm.name], promoted[harm.name] = aborted, asked, reach
    return Rehearsal(traffic=traffic, steps=tuple(steps), caught=caught, asks=asks, promoted=promoted)


def _odds(
    criteria: CriteriaSpec,
    step: SimulatedStep,
    traffic: TrafficProfile,
    releases: int,
    looks: int,
    generator: np.random.Generator,
    advise: bool,
    labels: dict[str, LabelHistory],
) -> StepOdds:
    """Return the odds of a step of those that reach it.

    Args:
        labels: of the steps before, by name of the harm; those of this step are added.
    """
    caught, asks, advice = {}, {}, {}
    for harm in (HEALTHY, *HARMS):
        earlier = labels.get(harm.name)
        outcome = simulate(criteria, step, traffic, harm, releases, looks, generator, earlier)
        reach = np.ones(releases, dtype=bool) if earlier is None or earlier.failed.all() else ~earlier.failed
        caught[harm.name] = float(outcome.failed[reach].mean())
        asks[harm.name] = float((~outcome.failed & ~outcome.passed)[reach].mean())
        labels[harm.name] = outcome.labels
        if advise and harm is not HEALTHY and caught[harm.name] < POOR:
            advice[harm.name] = _advice(criteria, step, traffic, harm, generator)
    return StepOdds(
        step=step.name, weight=step.weight, hours=step.hours, caught=caught, asks=asks, advice=advice
    )


def _advice(
    criteria: CriteriaSpec,
    step: SimulatedStep,
    traffic: TrafficProfile,
    harm: CandidateHarm,
    generator: np.random.Generator,
) -> Advice | None:
    """Return the shortest step that catches the harm half the time: of the same weight, else of half the
    traffic; None where two weeks are not enough."""

    def power(weight: float, hours: float) -> float:
        tried = step.model_copy(update={"weight": weight, "hours": hours, "wait": 0.0})
        outcome = simulate(criteria, tried, traffic, harm, ADVICE_RELEASES, ADVICE_LOOKS, generator)
        return float(outcome.failed.mean())

    for weight in dict.fromkeys((step.weight, max(step.weight, HEAVIEST))):
        if power(weight, LONGEST_HOURS) < POOR:
            continue
        short, long = 0.0, LONGEST_HOURS
        for _ in range(9):
            middle = (short + long) / 2.0
            short, long = (short, middle) if power(weight, middle) >= POOR else (middle, long)
        return Advice(weight=weight, hours=round(long, 1), mirror=step.mirror)
    return None
