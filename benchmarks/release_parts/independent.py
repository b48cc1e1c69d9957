"""Verdicts on independent requests: the rules of the rehearsal, and the functions that a release calls, beside them.

Requests arrive evenly in the first, by chance in the second (`check`); errors, latencies and labels are independent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from perennial import catalog
from perennial.core.release.analysis.clusters import Arm, ByCluster, ClusterKind
from perennial.core.release.analysis.criteria import judge_traffic
from perennial.core.release.analysis.labels_of_steps import LabelSteps, Pair, pooled
from perennial.core.release.analysis.rehearsal import HARMS, HEALTHY, rehearse
from perennial.core.release.analysis.simulated_latency import EDGES_MS
from perennial.core.release.analysis.simulated_step import SimulatedStep, simulate, simulated_steps
from perennial.core.release.analysis.simulated_time import SimulatedTime
from perennial.core.release.analysis.traffic_profile import CandidateHarm, Dependence, TrafficProfile
from perennial.core.release.counted.slices import spell_length
from perennial.core.release.label_counts import LabelCounts, TruthCounts
from perennial.core.release.traffic import Counters, LikeRequests
from perennial.core.release_spec import ReleaseSpec
from perennial.core.verdict import Verdict, worst
from perennial.settings import Settings
from release_parts.outcome import Outcome

SHIPPED = catalog.spec("test_failure_predictor", Settings(spec_overlay=None)).release
DOUBLED = HARMS[0]
SLOW_SPELLS = {
    "slow spells of each pool (10 min, sd 0.3)": Dependence(latency_time_sd=0.3),
    "200 users whose log latency differs by 0.4": Dependence(users=200, latency_user_sd=0.4),
}
LOOKS = 100
TRUTHS = ("negative", "positive")
SLICES = 3
"""Slices of time between two looks."""
PIECES = 7
"""Pieces of an earlier step, each of `SLICES` slices of time."""
RATES = ((60, 0.01), (600, 0.001), (600, 0.01), (6000, 0.001), (6000, 0.01), (20000, 0.01))


ALIKE = LikeRequests(
    slow_in_log=True, slow_alike=True, fine_alike=False, slower=0, compared=0, requests=0, limit=None
)
"""All simulated requests are alike, so that the comparison of like requests confirms the router's."""


def traffic(rate: float, error_rate: float = 0.01) -> TrafficProfile:
    return TrafficProfile(
        requests_per_hour=rate, error_rate=error_rate, latency_p95_ms=120, latency_log_sd=0.5,
        accuracy=0.85, labelled=0.5,
    )  # fmt: skip


def outcomes(releases: int, seed: int) -> Iterator[Outcome]:
    """Draw healthy candidates and such with a doubled error rate through the shipped steps, for several rates."""
    for rate, error_rate in RATES:
        for harm in (HEALTHY, DOUBLED):
            name = f"{rate} requests/h, {error_rate:.1%} fail"
            yield _outcome(name, harm, traffic(rate, error_rate), releases, seed)


def latencies(releases: int, seed: int) -> Iterator[Outcome]:
    """Draw healthy and slow candidates under slow spells of each pool, and among users of different latency."""
    for name, dependence in SLOW_SPELLS.items():
        now = traffic(6000).model_copy(update={"dependence": dependence})
        for harm in (HEALTHY, HARMS[1]):
            yield _outcome(name, harm, now, releases, seed)


def _outcome(name: str, harm: CandidateHarm, now: TrafficProfile, releases: int, seed: int) -> Outcome:
    generator = np.random.default_rng(seed)
    reach, aborted, asked = releases, 0, 0
    for stage in simulated_steps(SHIPPED, now):
        if not reach:
            break
        seen = simulate(SHIPPED.criteria, stage, now, harm, reach, LOOKS, generator)
        failed, passed = int(seen.failed.sum()), int(seen.passed.sum())
        aborted, asked = aborted + failed, asked + reach - failed - passed
        reach = passed
    return Outcome(name, harm.name, aborted, asked, reach)


def real_outcome(
    policy: ReleaseSpec,
    stage: SimulatedStep,
    now: TrafficProfile,
    harm: CandidateHarm,
    looks: int,
    generator: np.random.Generator,
    before: Sequence[SimulatedStep] = (),
) -> str:
    """Return FAIL, PASS or UNSURE of a release in a step, by `judge_traffic` on random arrivals.

    If the champion answers nothing, its earlier answers are used, without their labels.

    Args:
        before: earlier steps, of which only the labels are drawn.
    """
    earlier = [_labels(step, now, harm, generator) for step in before if step.before is None]
    mine, theirs = _Side(now, harm), _Side(now, HEALTHY)
    if stage.before is not None:
        for _ in range(stage.slices_before):
            arrivals = now.requests_per_hour * stage.before / stage.slices_before
            theirs.answer(int(generator.poisson(arrivals)), generator)
    time = SimulatedTime.of(stage.hours, stage.wait, looks)
    look = 0
    for cell, (end, width) in enumerate(zip(time.ends, time.widths, strict=True)):
        for side, share in zip((mine, theirs), stage.shares, strict=True):
            side.answer(int(generator.poisson(now.requests_per_hour * share * width)), generator)
        if cell != time.looks[look]:
            continue
        own = (mine.labelled(), theirs.labelled() if stage.before is None else LabelCounts())
        judged = judge_traffic(
            policy.criteria, mine.counters(), theirs.counters(), *pooled([*earlier, own]),
            label_steps=LabelSteps(len(earlier), stage.part, own if earlier else None),
            clusters=_by_time(mine, theirs, time, look, stage.before is None), like=ALIKE,
            promotes=stage.promotes, elapsed=timedelta(hours=float(end)),
        )  # fmt: skip
        verdict = worst(judged)
        if verdict is Verdict.FAIL or (end >= stage.hours * (1 - 1e-9) and verdict is Verdict.PASS):
            return verdict.value
        look += 1
    return Verdict.UNSURE.value


def _by_time(
    mine: _Side, theirs: _Side, time: SimulatedTime, look: int, paired: bool
) -> Callable[[], tuple[ByCluster, ...]]:
    """Return the function of the counts by the slices of a look."""
    starts = time.slices(look)
    spells = np.searchsorted(starts, time.slices(look, spell_length(timedelta(hours=time.hours))))

    def counts() -> tuple[ByCluster, ...]:
        champion = theirs.arm(starts if paired else np.arange(len(theirs.cells_requests)))
        return (ByCluster(ClusterKind.TIME, mine.arm(starts), champion, paired, spells),)

    return counts


class _Side:
    """Counts of a version."""

    def __init__(self, now: TrafficProfile, harm: CandidateHarm) -> None:
        self.now, self.harm = now, harm
        self.requests = self.errors = 0
        self.labels: list[dict[str, tuple[int, int, int]]] = []
        """For each look and truth: new requests with it, labelled ones, wrong ones of these."""
        self.positive = 0
        self.buckets = np.zeros(len(EDGES_MS) + 1, dtype=int)
        self.cells_requests: list[int] = []
        self.cells_errors: list[int] = []
        self.cells_buckets: list[NDArray[np.int64]] = []
        p95 = np.log(now.latency_p95_ms * harm.latency_factor)
        share = norm.cdf(np.log(EDGES_MS), p95 - norm.ppf(0.95) * now.latency_log_sd, now.latency_log_sd)
        self.cells = np.diff(share, prepend=0.0, append=1.0)

    def answer(self, count: int, generator: np.random.Generator) -> None:
        self.requests += count
        failed = generator.binomial(count, self.now.error_rate * self.harm.error_factor)
        self.errors += failed
        for part in np.diff(np.linspace(0, count, SLICES + 1).astype(int)):
            self._label(int(part), generator)
        drawn = generator.multinomial(count, self.cells)
        self.buckets += drawn
        self.cells_requests.append(count)
        self.cells_errors.append(failed)
        self.cells_buckets.append(drawn)

    def arm(self, starts: NDArray[np.int64]) -> Arm:
        """Return the counts of slices that begin with these cells."""
        columns = (np.array(self.cells_requests), np.array(self.cells_errors), np.array(self.cells_buckets))
        requests, errors, buckets = (np.add.reduceat(column, starts) for column in columns)
        return Arm(requests, errors, np.array([*EDGES_MS, np.inf]), buckets.cumsum(axis=1).T)

    def _label(self, count: int, generator: np.random.Generator) -> None:
        """Draw truths and labels of the requests of a slice of time."""
        look = {}
        for place, (name, truth) in enumerate(zip(TRUTHS, self.now.two_truths, strict=True)):
            new = generator.binomial(count, truth.share) if place == 0 else count - look[TRUTHS[0]][0]
            known = generator.binomial(new, truth.labelled)
            rate = truth.wrong + self.harm.accuracy_drop
            wrong, unseen = generator.binomial(known, rate), generator.binomial(new - known, rate)
            look[name] = (new, known, wrong)
            self.positive += wrong + unseen if place == 0 else new - wrong - unseen
        self.labels.append(look)

    def counters(self) -> Counters:
        bounds = (*EDGES_MS.tolist(), float("inf"))
        counts = tuple(zip(bounds, self.buckets.cumsum().tolist(), strict=True))
        return Counters.model_construct(requests=self.requests, errors=self.errors, buckets=counts)

    def labelled(self) -> LabelCounts:
        """Return the labels of all looks, each of which is a slice of time."""
        truths = {}
        for name, other in (TRUTHS, TRUTHS[::-1]):
            known, wrong = (np.array([look[name][at] for look in self.labels]) for at in (1, 2))
            truths[name] = TruthCounts(
                requests=known.sum(), wrong=wrong.sum(),
                answers={name: float(known.sum() - wrong.sum()), other: float(wrong.sum())},
                groups={"time": tuple((float(n), float(x), 0.0, 0.0) for n, x in zip(known, wrong, strict=True))},
            )  # fmt: skip
        known, wrong = (sum(getattr(one, key) for one in truths.values()) for key in ("requests", "wrong"))
        return LabelCounts(
            right=known - wrong, requests=int(known), labels=int(known), truths=truths, maturity_hours=0.0,
            answered=self.requests,
            answers={"positive": float(self.positive), "negative": float(self.requests - self.positive)},
        )  # fmt: skip


def _labels(
    stage: SimulatedStep, now: TrafficProfile, harm: CandidateHarm, generator: np.random.Generator
) -> Pair:
    """Draw the labels of a whole step."""
    mine, theirs = _Side(now, harm), _Side(now, HEALTHY)
    for side, share in zip((mine, theirs), stage.shares, strict=True):
        for _ in range(PIECES):
            side.answer(
                int(generator.poisson(now.requests_per_hour * share * stage.hours / PIECES)), generator
            )
    return mine.labelled(), theirs.labelled()


def check(
    policy: ReleaseSpec, harm: CandidateHarm, now: TrafficProfile, releases: int, looks: int, only: int | None
) -> Iterator[str]:
    rehearsal = rehearse(policy, now, seed=7, releases=4000, looks=looks, advise=False)
    rate = now.requests_per_hour
    yield f"{harm.name}, {rate:g} requests an hour, {releases} releases a step, {looks} looks"
    yield f"{'step':>8} {'rehearsed':>10} {'simulated':>10} {'difference':>11}"
    generator = np.random.default_rng(23)
    stages = simulated_steps(policy, now)
    for number, (stage, odds) in enumerate(zip(stages, rehearsal.steps, strict=True)):
        if only not in (None, number):
            continue
        caught = np.mean(
            [
                real_outcome(policy, stage, now, harm, looks, generator, stages[:number])
                == Verdict.FAIL.value
                for _ in range(releases)
            ]
        )
        said = odds.caught[harm.name]
        yield f"{stage.name:>8} {said:10.1%} {caught:10.1%} {100 * (caught - said):+9.1f} pt"
