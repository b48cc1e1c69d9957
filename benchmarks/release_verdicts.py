"""False aborts and false promotions of the shipped release policy, with frequent looks.

Run: python benchmarks/release_verdicts.py                       false aborts and false passes (a minute)
     python benchmarks/release_verdicts.py --check HARM          printed chances against the real rules (minutes)

The first prints, for several rates, the outcomes of healthy candidates and of candidates with a doubled error
rate. The second judges 2,000 releases with random arrivals by `judge_traffic`, the function that a release
calls, and compares the result with `perennial release rehearse`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from datetime import timedelta

import numpy as np
from scipy.stats import norm

from perennial import catalog
from perennial.core.release.analysis.criteria import judge_traffic
from perennial.core.release.analysis.rehearsal import HARMS, HEALTHY, rehearse
from perennial.core.release.analysis.simulated_step import (
    EDGES_MS,
    CandidateHarm,
    SimulatedStep,
    TrafficProfile,
    simulate,
    simulated_steps,
)
from perennial.core.release.label_counts import LabelCounts
from perennial.core.release.traffic import Counters, LikeRequests
from perennial.core.release_spec import ReleaseSpec
from perennial.core.verdict import Verdict, worst
from perennial.settings import Settings

SHIPPED = catalog.spec("test_failure_predictor", Settings(spec_overlay=None)).release
DOUBLED = HARMS[0]
LOOKS = 100


ALIKE = LikeRequests(
    slow_in_log=True, slow_alike=True, fine_alike=False, slower=0, compared=0, requests=0, limit=None
)
"""All simulated requests are alike, so that the comparison of like requests confirms the router's."""


def traffic(rate: float, error_rate: float = 0.01) -> TrafficProfile:
    return TrafficProfile(
        requests_per_hour=rate, error_rate=error_rate, latency_p95_ms=120, latency_log_sd=0.5,
        accuracy=0.85, labelled=0.5,
    )  # fmt: skip


def verdicts(releases: int) -> Iterator[str]:
    yield f"{'requests/h':>10} {'errors':>7} {'candidate':>19} | {'aborted':>8} {'asks':>8} {'promoted':>9}"
    for rate, error_rate in (
        (60, 0.01),
        (600, 0.001),
        (600, 0.01),
        (6000, 0.001),
        (6000, 0.01),
        (20000, 0.01),
    ):
        for harm in (HEALTHY, DOUBLED):
            generator = np.random.default_rng(11)
            reach, aborted, asks = 1.0, 0.0, 0.0
            now = traffic(rate, error_rate)
            for stage in simulated_steps(SHIPPED, now):
                seen = simulate(SHIPPED.criteria, stage, now, harm, releases, LOOKS, generator)
                failed, passed = seen.failed.mean(), seen.passed.mean()
                aborted, asks = aborted + reach * failed, asks + reach * (1 - failed - passed)
                reach *= passed
            yield (f"{rate:10d} {error_rate:7.1%} {harm.name:>19} | {aborted:8.2%} {asks:8.1%} {reach:9.2%}")


def real_outcome(
    policy: ReleaseSpec,
    stage: SimulatedStep,
    now: TrafficProfile,
    harm: CandidateHarm,
    looks: int,
    generator: np.random.Generator,
) -> str:
    """Return FAIL, PASS or UNSURE of a release in a step, by `judge_traffic` on random arrivals.

    If the champion answers nothing, its earlier answers are used, without their labels.
    """
    mine, theirs = _Side(now, harm), _Side(now, HEALTHY)
    if stage.before is not None:
        theirs.answer(int(generator.poisson(now.requests_per_hour * stage.before)), generator)
    step = stage.hours / looks
    for number in range(1, looks + round(stage.wait / step) + 1):
        for side, share in zip((mine, theirs), stage.shares, strict=True):
            side.answer(int(generator.poisson(now.requests_per_hour * share * step)), generator)
        judged = judge_traffic(
            policy.criteria, mine.counters(), theirs.counters(), mine.labelled(),
            theirs.labelled() if stage.before is None else LabelCounts(),
            like=ALIKE, promotes=stage.promotes, elapsed=timedelta(hours=step * number),
        )  # fmt: skip
        verdict = worst(judged)
        if verdict is Verdict.FAIL or (number >= looks and verdict is Verdict.PASS):
            return verdict.value
    return Verdict.UNSURE.value


class _Side:
    """Counts of a version."""

    def __init__(self, now: TrafficProfile, harm: CandidateHarm) -> None:
        self.now, self.harm = now, harm
        self.requests = self.errors = self.known = self.wrong = 0
        self.buckets = np.zeros(len(EDGES_MS) + 1, dtype=int)
        p95 = np.log(now.latency_p95_ms * harm.latency_factor)
        share = norm.cdf(np.log(EDGES_MS), p95 - norm.ppf(0.95) * now.latency_log_sd, now.latency_log_sd)
        self.cells = np.diff(share, prepend=0.0, append=1.0)

    def answer(self, count: int, generator: np.random.Generator) -> None:
        self.requests += count
        self.errors += generator.binomial(count, self.now.error_rate * self.harm.error_factor)
        known = generator.binomial(count, self.now.labelled)
        self.known += known
        self.wrong += generator.binomial(known, 1 - self.now.accuracy + self.harm.accuracy_drop)
        self.buckets += generator.multinomial(count, self.cells)

    def counters(self) -> Counters:
        bounds = (*EDGES_MS.tolist(), float("inf"))
        counts = tuple(zip(bounds, self.buckets.cumsum().tolist(), strict=True))
        return Counters.model_construct(requests=self.requests, errors=self.errors, buckets=counts)

    def labelled(self) -> LabelCounts:
        return LabelCounts(right=self.known - self.wrong, requests=self.known, labels=self.known)


def check(
    policy: ReleaseSpec, harm: CandidateHarm, now: TrafficProfile, releases: int, looks: int, only: int | None
) -> Iterator[str]:
    rehearsal = rehearse(policy, now, seed=7, releases=4000, looks=looks, advise=False)
    rate = now.requests_per_hour
    yield f"{harm.name}, {rate:g} requests an hour, {releases} releases a step, {looks} looks"
    yield f"{'step':>8} {'rehearsed':>10} {'simulated':>10} {'difference':>11}"
    generator = np.random.default_rng(23)
    for number, (stage, odds) in enumerate(zip(simulated_steps(policy, now), rehearsal.steps, strict=True)):
        if only not in (None, number):
            continue
        caught = np.mean(
            [
                real_outcome(policy, stage, now, harm, looks, generator) == Verdict.FAIL.value
                for _ in range(releases)
            ]
        )
        said = odds.caught[harm.name]
        yield f"{stage.name:>8} {said:10.1%} {caught:10.1%} {100 * (caught - said):+9.1f} pt"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--releases", type=int, default=2000)
    parser.add_argument("--check", choices=("errors", "latency", "accuracy", "healthy"))
    parser.add_argument("--strategy", choices=("canary", "ab", "blue_green"), default="canary")
    parser.add_argument("--rate", type=float, default=3000)
    parser.add_argument("--error-rate", type=float, default=0.01)
    parser.add_argument("--looks", type=int, default=10)
    parser.add_argument("--step", type=int, help="check only this step; 0 is the shadow")
    asked = parser.parse_args()
    started = time.perf_counter()
    if asked.check is None:
        lines = verdicts(asked.releases)
    else:
        harm = dict(zip(("errors", "latency", "accuracy", "healthy"), (*HARMS, HEALTHY), strict=True))[
            asked.check
        ]
        policy = SHIPPED.model_validate(SHIPPED.model_dump() | {"strategy": asked.strategy})
        now = traffic(asked.rate, asked.error_rate)
        lines = check(policy, harm, now, asked.releases, asked.looks, asked.step)
    for text in lines:
        print(text, flush=True)
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
