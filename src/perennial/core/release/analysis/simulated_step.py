"""Simulate many releases going through one step at once, judged by the rules of a release.

What they answer is drawn in `perennial.core.release.analysis.simulated_counts` and `simulated_latency`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from pydantic import Field

from perennial.core.frozen import Frozen
from perennial.core.release.analysis.labels_of_steps import parts_of_error
from perennial.core.release.analysis.simulated_counts import Crowd
from perennial.core.release.analysis.simulated_labels import LabelHistory
from perennial.core.release.analysis.simulated_latency import latency
from perennial.core.release.analysis.simulated_time import CELLS, Integers, SimulatedTime
from perennial.core.release.analysis.traffic_profile import CandidateHarm, TrafficProfile
from perennial.core.release.phase import Phase
from perennial.core.release.plan import Step, plan, promotes
from perennial.core.release_spec import CriteriaSpec, ReleaseSpec
from perennial.core.statistics import Booleans

DAY = 24.0


class SimulatedStep(Frozen):
    """Shadow or canary step of a policy, in hours."""

    name: str
    weight: float = Field(description="percent of requests; 100 with `mirror`")
    hours: float
    wait: float = Field(
        description="hours after its end until a person is asked; where a sample is complete early, the rest "
        "of the step's duration counts too"
    )
    mirror: bool = Field(False, description="both versions see every request")
    promotes: bool = False
    part: float = Field(1.0, description="part of the error chance for its labels")
    before: float | None = Field(
        None, description="hours of all requests by which the champion is known, where it gets none"
    )

    slices_before: int = Field(
        1, description="slices in which the champion was counted before; 1: it is known by its requests alone"
    )

    @property
    def shares(self) -> tuple[float, float]:
        """Shares of the requests of candidate and champion."""
        candidate = self.weight / 100.0
        return (1.0, 1.0) if self.mirror else (candidate, 1.0 - candidate)


@dataclass(frozen=True)
class SimulatedOutcome:
    """Ends of the simulated releases, bool [releases] each; where both are False a person is asked.

    Attributes:
        labels: of this step and those before it, for the next one.
    """

    failed: Booleans
    passed: Booleans
    labels: LabelHistory


def simulated_steps(
    policy: ReleaseSpec, traffic: TrafficProfile, servers: int = 2
) -> tuple[SimulatedStep, ...]:
    """Return the policy's plan as it would go under this traffic.

    Args:
        servers: size of the stable pool, for a strategy that goes server by server.
    """
    steps = plan(policy, servers)
    simulated: list[SimulatedStep] = []
    for step, part in zip(steps, parts_of_error(steps), strict=True):
        mirror = step.phase is Phase.SHADOW
        hours = _hours_until_end(step, traffic)
        simulated.append(
            SimulatedStep(
                name="shadow" if mirror else f"{step.weight:g} %",
                weight=100.0 if mirror else step.weight,
                hours=hours,
                wait=_hours(step.duration + policy.unsure_after) - hours,
                mirror=mirror,
                before=(simulated[-1].hours if simulated else DAY) if step.takes_all else None,
                slices_before=CELLS if step.takes_all and simulated else 1,
                promotes=step is steps[-1] and promotes(policy),
                part=part,
            )
        )
    return tuple(simulated)


def _hours_until_end(step: Step, traffic: TrafficProfile) -> float:
    """Return a step's duration, or less where its sample is complete earlier."""
    if step.sample is None:
        return _hours(step.duration)
    smaller_share = min(step.weight, 100.0 - step.weight) / 100.0
    return min(_hours(step.duration), step.sample / (smaller_share * traffic.requests_per_hour))


def simulate(
    criteria: CriteriaSpec,
    step: SimulatedStep,
    traffic: TrafficProfile,
    harm: CandidateHarm,
    releases: int,
    looks: int,
    generator: np.random.Generator,
    earlier: LabelHistory | None = None,
) -> SimulatedOutcome:
    """Judge `releases` candidates at `looks` evenly spaced times in the step, then until a person is asked.

    A test that the harm does not touch would abort a few in a thousand, as it does healthy candidates; to
    save time it is left out, except for the errors, which also decide about promotion. Where the champion
    answers nothing, only late labels of the steps before tell its accuracy.

    Args:
        earlier: labels of the steps before, of the same releases; None: of this step alone.
    """
    if step.mirror and traffic.dependence.users is not None:  # both versions meet the same users: they cancel
        together = traffic.dependence.model_copy(update={"users": None})
        traffic = traffic.model_copy(update={"dependence": together})
    time = SimulatedTime.of(step.hours, step.wait, looks)
    rate = traffic.requests_per_hour
    requests, champion_requests = (
        _new(np.floor(rate * share * time.ends).astype(np.int64)) for share in step.shares
    )
    if step.before is not None:
        ends = np.linspace(0.0, step.before, step.slices_before + 1)[1:]
        champion_requests = _new(np.floor(rate * ends).astype(np.int64))
    crowd = Crowd(
        criteria, traffic, harm, time, requests, champion_requests, step.before is None, step.shares, step.promotes,
        releases, generator,
    )  # fmt: skip
    failed, passed = crowd.errors()
    if harm.latency_factor != 1.0 or harm.is_none:
        slow = latency(crowd)
        failed, passed = failed | slow.failed, passed & slow.passed
    labels = earlier or LabelHistory((), np.zeros(releases, dtype=bool))
    wrong = np.zeros_like(failed)
    if harm.accuracy_drop != 0.0 or harm.is_none:
        wrong, labels = crowd.wrong(labels, step.part, step.hours)
        failed = failed | wrong
    answered, champion_answered = crowd.answered
    ready = (answered >= criteria.min_requests) & (champion_answered > 0)
    ready &= time.at >= step.hours * (1 - 1e-9)
    passes = ready & passed
    first_fail, first_pass = _first(failed), _first(passes)
    aborted = (first_fail < len(time.looks)) & (first_fail <= first_pass)
    found = (_first(wrong) < len(time.looks)) & (_first(wrong) <= first_pass)
    return SimulatedOutcome(
        failed=aborted,
        passed=~aborted & (first_pass < len(time.looks)),
        labels=LabelHistory(labels.steps, labels.failed | found),
    )


def _new(cumulative: Integers) -> Integers:
    """Return what each cell adds."""
    return np.concatenate([cumulative[:1], cumulative[1:] - cumulative[:-1]])


def _first(flags: Booleans) -> Integers:
    """Return the column of the first True of each row; the number of columns where there is none."""
    return np.asarray(np.where(flags.any(axis=1), flags.argmax(axis=1), flags.shape[1]))


def _hours(span: timedelta) -> float:
    return span / timedelta(hours=1)
