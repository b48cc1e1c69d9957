"""Verdicts on labels that are no sample of the requests: late or missing by the truth, or wrong together in cycles.

Each release goes through the canary steps of the shipped policy; its labels are judged by `judge_labels`, the function
that a release calls, `LOOKS` times in each step, with those of the steps before it. Only the labels are judged: all
else is healthy. The delays are those that `core.monitoring.label_delay` learns from the champion's traffic of the day
before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import NamedTuple

import numpy as np

from perennial import catalog
from perennial.core.monitoring.label_delay import learn_delay
from perennial.core.release.analysis.harm_tests import tolerated_drop
from perennial.core.release.analysis.labels import judge_labels
from perennial.core.release.analysis.labels_of_steps import LabelSteps, parts_of_error, pooled
from perennial.core.release.analysis.simulated_labels import Drawn, increases_by_truth
from perennial.core.release.analysis.truth_shares import Answered
from perennial.core.release.analysis.within_truth import ErrorCounts
from perennial.core.release.label_counts import LabelCounts, TruthCounts
from perennial.core.release.phase import Phase
from perennial.core.release.plan import plan
from perennial.core.verdict import Verdict
from perennial.settings import Settings
from release_parts.outcome import Outcome

POLICY = catalog.spec("test_failure_predictor", Settings(spec_overlay=None)).release
PLAN = plan(POLICY, servers=1)
PARTS = dict(zip(PLAN, parts_of_error(PLAN), strict=True))
"""Parts of the error chance; that of the shadow is spent, though its labels are not drawn."""
STEPS = tuple(step for step in PLAN if step.phase is Phase.CANARY)
NAMES = ("positive", "negative")
LOOKS = 20
FINE = 60
"""Pieces of a step in which requests are drawn; slices of time join three of them."""
SLICES = 20
LEARNT = 2000
"""Labels of the champion from which the delays are learnt."""


class Errors(NamedTuple):
    """Error rates of a version."""

    missed: float
    false: float


@dataclass(frozen=True)
class Traffic:
    """Requests of a model and what becomes of their labels.

    Attributes:
        share: of the positive requests.
        champion: its errors; labelled, delay: share of the labels that ever come, and their delay in hours, of
            positive and negative requests.
        cycle: requests that go to one version together; correlation: of the errors within a cycle.
        varying: the share of the positive requests swings by this much, by the hour.
        growing: by what the errors of both versions are multiplied, and the share of the positive requests, by step.
        begins: step with which the candidate's errors begin; before, it errs like the champion.
    """

    share: float
    champion: Errors
    labelled: tuple[float, float] = (1.0, 1.0)
    delay: tuple[float, float] = (0.0, 0.0)
    rate: float = 20_000.0
    cycle: int = 1
    correlation: float = 0.0
    varying: float = 0.0
    growing: tuple[tuple[float, float], ...] = ((1.0, 1.0),) * 3
    begins: int = 0

    def of(self, step: int, errors: Errors) -> tuple[Traffic, Errors, Errors]:
        """Return the traffic of a step, and the errors of candidate and champion in it."""
        factor, shares = self.growing[step]
        mine, theirs = (
            Errors(side.missed * factor, side.false * factor)
            for side in (errors if step >= self.begins else self.champion, self.champion)
        )
        return replace(self, share=self.share * shares), mine, theirs


LATE = Traffic(0.1, Errors(0.3, 0.05), delay=(0.2, 4.0))
SELECTED = Traffic(0.1, Errors(0.3, 0.05), labelled=(0.9, 0.3))
RARE = Traffic(0.1, Errors(0.2, 0.05), labelled=(0.9, 0.1))
FEW_FAILING = replace(RARE, labelled=(0.1, 0.9))
EVEN = Traffic(0.5, Errors(0.15, 0.15), (0.5, 0.5))
CYCLES = Traffic(0.3, Errors(0.15, 0.15), labelled=(0.5, 0.5), rate=6000.0, cycle=50, correlation=0.1)
HARDER = replace(SELECTED, champion=Errors(0.1, 0.05), growing=((1.0, 1.0), (2.0, 1.5), (4.0, 2.0)))
EASIER = replace(HARDER, growing=((4.0, 2.0), (1.0, 1.0), (1.0, 1.0)))
HALF = replace(RARE, labelled=(0.5, 0.5))
TRADES = Errors(0.1, 0.05 + 0.2 / 9)
"""As accurate as the champion of `LATE` and `SELECTED`: it misses less and alarms more."""
SHIFTED = Errors(0.5, 0.05 - 0.2 / 9)
"""As accurate, the other way round."""

ROWS: tuple[tuple[str, Traffic, str, Errors], ...] = (
    ("cycles of 50 on one side, correlation .1", CYCLES, "healthy", CYCLES.champion),
    ("the same, 20,000/h", replace(CYCLES, rate=20_000.0), "healthy", CYCLES.champion),
    ("the same, 20,000/h, correlation .3", replace(CYCLES, rate=20_000.0, correlation=0.3), "healthy", CYCLES.champion),
    ("failing known after 0.2 h, passing after 4 h", LATE, "misses less", TRADES),
    ("failing known after 0.2 h, passing after 4 h", LATE, "misses more", SHIFTED),
    ("passing known after 0.2 h, failing after 4 h", replace(LATE, delay=(4.0, 0.2)), "misses less", TRADES),
    ("90 % of failing, 30 % of passing labelled", SELECTED, "misses less", TRADES),
    ("90 % of failing, 30 % of passing labelled", SELECTED, "misses more", SHIFTED),
    ("the same, the share of failing swings .05 to .15", replace(SELECTED, varying=0.05), "misses less", TRADES),
    ("the same, 600/h", replace(SELECTED, rate=600.0), "misses less", TRADES),
    ("errors 2, then 4 times as often in later steps", HARDER, "healthy", HARDER.champion),
    ("errors 4 times as often in the first step", EASIER, "healthy", HARDER.champion),
    ("90 % of failing, 10 % of passing labelled", RARE, "5 pt specificity", Errors(0.2, 0.10)),
    ("90 % of failing, 10 % of passing labelled", RARE, "5 pt, false alarms", Errors(0.2, 0.05 + 0.5 / 9)),
    ("10 % of failing, 90 % of passing labelled", FEW_FAILING, "5 pt, all missed", Errors(0.7, 0.05)),
    ("failing known after 0.2 h, passing after 4 h", LATE, "5 pt, false alarms", Errors(0.3, 0.05 + 0.5 / 9)),
    ("failing known after 0.2 h, passing after 4 h", LATE, "5 pt, hidden", Errors(0.1, 0.05 + 0.7 / 9)),
    ("half labelled", HALF, "5 pt, both alike", Errors(0.25, 0.10)),
    ("as many of both, half labelled", EVEN, "5 pt, both alike", Errors(0.2, 0.2)),
    ("half labelled, in the last step only", replace(HALF, begins=2), "5 pt, both alike", Errors(0.25, 0.10)),
    ("cycles of 50, correlation .1, 20,000/h", replace(CYCLES, rate=20_000.0), "5 pt, both alike", Errors(0.2, 0.2)),
)  # fmt: skip


def outcomes(releases: int, seed: int) -> Iterator[Outcome]:
    """Draw releases of each row; FAIL aborts, and a verdict of UNSURE at the end of a step asks a person."""
    for name, traffic, candidate, errors in ROWS:
        ends = drawn(traffic, errors, releases, np.random.default_rng(seed))
        yield Outcome(
            name, candidate, ends.count(Verdict.FAIL), ends.count(Verdict.UNSURE), ends.count(Verdict.PASS)
        )


def drawn(traffic: Traffic, errors: Errors, releases: int, random: np.random.Generator) -> list[Verdict]:
    """Return the ends of releases of a candidate with these errors."""
    delays = [_learnt(traffic, random) for _ in range(releases)]
    ends = [Verdict.PASS] * releases
    before: list[_Step] = []
    for number_of_step, step in enumerate(STEPS):
        now_traffic, mine_errors, their_errors = traffic.of(number_of_step, errors)
        hours = step.duration / timedelta(hours=1)
        times = hours * np.arange(1, LOOKS + 1) / LOOKS
        going = [number for number in range(releases) if ends[number] is Verdict.PASS]
        if not going:
            break
        sides = [
            {number: _Side(now_traffic, version, hours, part, random) for number in going}
            for version, part in zip((mine_errors, their_errors), step.shares, strict=True)
        ]
        steps = [*before, _Step(sides[0], sides[1], hours)]
        worth = _may_decide(steps, times, going, delays, PARTS[step])
        for place, number in enumerate(going):
            for look in np.flatnonzero(worth[place]):
                now = float(times[look])
                pairs = [each.labels(number, now, delays[number], steps) for each in steps]
                earlier = sum(all(side.answered for side in pair) for pair in pairs[:-1])
                judged = LabelSteps(earlier, PARTS[step], pairs[-1] if earlier else None)
                verdict = judge_labels(POLICY.criteria, *pooled(pairs), judged)[0].verdict
                if verdict is Verdict.FAIL or (verdict is Verdict.UNSURE and look == LOOKS - 1):
                    ends[number] = verdict
                    break
        before = steps
    return ends


class _Step(NamedTuple):
    """A step of the releases that reached it, by the number of the release."""

    mine: dict[int, _Side]
    theirs: dict[int, _Side]
    hours: float

    def since(self, steps: list[_Step]) -> float:
        """Return the hours from its beginning to that of the last step."""
        return sum(step.hours for step in steps[steps.index(self) : -1])

    def labels(
        self, number: int, now: float, delay: float, steps: list[_Step]
    ) -> tuple[LabelCounts, LabelCounts]:
        age = now + self.since(steps)
        return self.mine[number].labels(age, delay), self.theirs[number].labels(age, delay)

    def sums(
        self, going: list[int], times: np.ndarray, delays: list[float], steps: list[_Step]
    ) -> tuple[Drawn, Drawn]:
        """Return the counts of candidate and champion at each time of the last step, [releases, looks, ...]."""
        counted = []
        for side in (self.mine, self.theirs):
            parts = [side[number].sums(times + self.since(steps), delays[number]) for number in going]
            known, wrong, cells, answers = (np.stack(part) for part in zip(*parts, strict=True))
            counted.append((ErrorCounts(wrong, known), Answered(known, cells, answers, answers.sum(axis=-1))))
        return counted[0], counted[1]


def _may_decide(
    steps: list[_Step], times: np.ndarray, going: list[int], delays: list[float], part: float
) -> np.ndarray:
    """Return at which looks a verdict other than PASS is possible, bool [releases, looks].

    The bounds for independent requests are computed for all releases at once; those by groups only widen them.
    """
    drawn = [step.sums(going, times, delays, steps) for step in steps]
    lowest = increases_by_truth(drawn, POLICY.criteria.confidence, part)
    return (np.isnan(lowest) | (lowest > tolerated_drop(POLICY.criteria))).any(axis=0)


def _learnt(traffic: Traffic, random: np.random.Generator) -> float:
    """Return the age of `learn_delay` from a day of the champion's labels."""
    ages = random.uniform(0.0, 24.0, LEARNT)
    positive = random.random(LEARNT) < traffic.share
    delays = np.where(positive, *traffic.delay) * random.uniform(0.8, 1.2, LEARNT)
    come = (random.random(LEARNT) < np.where(positive, *traffic.labelled)) & (delays <= ages)
    delay = learn_delay(delays[come], ages[come], np.where(positive, *NAMES)[come])
    assert delay is not None
    return delay.hours


class _Side:
    """Requests of a version in a step, by piece of time: [FINE, truths]."""

    def __init__(
        self, traffic: Traffic, errors: Errors, hours: float, share: float, random: np.random.Generator
    ) -> None:
        self.traffic, self.hours = traffic, hours
        mean = traffic.rate * share * hours / FINE / traffic.cycle
        cycles = random.poisson(mean, FINE)
        requests = cycles * traffic.cycle
        swing = traffic.varying * np.sin(np.arange(FINE) * hours / FINE * np.pi)
        positive = random.binomial(requests, np.clip(traffic.share + swing, 0, 1))
        self.count = np.stack([positive, requests - positive], axis=-1)
        self.known = random.binomial(self.count, np.array(traffic.labelled))
        rates = self._rates(errors, cycles, random)
        self.wrong = random.binomial(self.known, rates)
        self.unseen = random.binomial(self.count - self.known, rates)

    def _rates(self, errors: Errors, cycles: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Return the error rates of each piece of time: the mean over its cycles, each of which has rates of its own.

        A cycle's rate is beta distributed about the version's with the variance of this correlation.
        """
        rates = np.tile(errors, (FINE, 1))
        if not self.traffic.correlation:
            return rates
        spread = 1.0 / self.traffic.correlation - 1.0
        drawn = [
            [random.beta(p * spread, (1 - p) * spread, count).mean() if count else p for p in errors]
            for count in cycles
        ]
        return np.array(drawn)

    def sums(self, times: np.ndarray, delay: float) -> tuple[np.ndarray, ...]:
        """Return labelled and wrong requests, cells and answers of `Answered` at each time, [looks, ...]."""
        ends = np.arange(1, FINE + 1) * self.hours / FINE
        old = np.searchsorted(ends, times - delay, side="right")
        known, wrong, count, unseen = (
            np.concatenate([np.zeros((1, 2)), column.cumsum(axis=0)])[old]
            for column in (self.known, self.wrong, self.count, self.unseen)
        )
        right = known - wrong
        cells = np.stack(
            [np.stack([right[:, 0], wrong[:, 0]], axis=-1), np.stack([wrong[:, 1], right[:, 1]], axis=-1)],
            axis=-2,
        )
        missed, false = (wrong + unseen).T
        positive = count[:, 0] - missed + false
        return known, wrong, cells, np.stack([positive, count.sum(axis=-1) - positive], axis=-1)

    def labels(self, now: float, delay: float) -> LabelCounts:
        """Return what the labels show at a time of the step, of requests older than the delay."""
        ends = np.arange(1, FINE + 1) * self.hours / FINE
        old = ends <= now - delay
        if not old.any():
            return LabelCounts(young=int(self.count[ends <= now].sum()), maturity_hours=delay)
        slices = np.arange(old.sum()) * SLICES // max(SLICES, int(old.sum()))
        known, wrong = self.known[old], self.wrong[old]
        count, off = known.sum(axis=0), wrong.sum(axis=0)
        all_wrong = off + self.unseen[old].sum(axis=0)
        total = self.count[old].sum(axis=0)
        given = total[0] - all_wrong[0] + all_wrong[1]
        truths = {
            name: TruthCounts(
                requests=count[place], wrong=off[place],
                answers={name: float(count[place] - off[place]), NAMES[1 - place]: float(off[place])},
                groups={"time": tuple(
                    (float(np.sum(known[slices == at, place])), float(np.sum(wrong[slices == at, place])), 0.0, 0.0)
                    for at in range(SLICES)
                )},
            )
            for place, name in enumerate(NAMES)
        }  # fmt: skip
        return LabelCounts(
            right=float((count - off).sum()), requests=int(count.sum()), labels=int(count.sum()),
            maturity_hours=delay, young=int(self.count[~old & (ends <= now)].sum()), answered=float(total.sum()),
            answers={NAMES[0]: float(given), NAMES[1]: float(total.sum() - given)}, truths=truths,
        )  # fmt: skip
