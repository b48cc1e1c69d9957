"""Judge labels by all steps of a release so far: late labels of an earlier step count in the next ones.

Candidate and champion are compared within each step, since the candidate's share changes from step to step: in plain
sums a time in which more is wrong would weigh more for one version than for the other. So where a step has relatively
more of a version than the current step, that version's counts are scaled down until both are in the current proportion:
each step then weighs the same for both (direct standardisation). A count scaled by a factor of at most 1 keeps the
bounds of `core.statistics`: a likelihood ratio to that power has a mean of at most 1 (Jensen). The factors of the
current step are 1, so earlier steps take nothing away from it.

A harm that begins with a step is diluted in that sum, so the current step is judged alone, too.

Each step looks at a sum of its own, so the error chance is spent over the steps (K. Lan, D. DeMets, "Discrete
sequential boundaries for clinical trials", Biometrika 1983): half of it in equal parts, so that early steps can tell,
half by the information that each step brings. Both ways of judging a step have half of its part (union bound).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from perennial.core.release.label_counts import TIME, Bucket, LabelCounts, TruthCounts
from perennial.core.release.plan import Step
from perennial.core.statistics import Floats

EQUALLY = 0.5
"""Part of the error chance that is spent in equal parts."""

Pair = tuple[LabelCounts, LabelCounts]
Layout = dict[str, int]
"""Way of grouping -> buckets of a step."""
NONE = TruthCounts()


class LabelSteps(NamedTuple):
    """Origin of the labels under judgement: all steps so far, and the current step alone.

    Attributes:
        earlier: number of earlier steps whose labels count.
        part: of the error chance, for the looks of the current step.
        own: labels of the current step alone, where there are earlier ones.
    """

    earlier: int = 0
    part: float = 1.0
    own: Pair | None = None

    def confidence(self, overall: float) -> float:
        """Return the confidence of a bound on all labels, and of one on those of this step, for this overall one."""
        ways = 2 if self.earlier else 1
        return 1.0 - self.part / ways * (1.0 - overall)


def parts_of_error(steps: Sequence[Step]) -> tuple[float, ...]:
    """Return the part of the error chance of each step of a plan; their sum is 1."""
    told = [step.duration.total_seconds() * min(step.shares) for step in steps]
    whole = sum(told)
    return tuple(
        EQUALLY / len(steps) + (1.0 - EQUALLY) * (each / whole if whole else 1.0 / len(steps))
        for each in told
    )


def factors(answered: Floats, champion_answered: Floats) -> tuple[Floats, Floats]:
    """Return by what to multiply the counts of both versions in each step, in [0, 1].

    Args:
        answered, champion_answered: requests that are old enough, [..., steps], the current step last.

    Returns:
        Factors that give the proportion of the current step, or of the last in which both answered; 0 for a step in
        which one of them did not.
    """
    both = (answered > 0) & (champion_answered > 0)
    ratio = np.where(both, answered, 1.0) / np.where(both, champion_answered, 1.0)
    steps = ratio.shape[-1]
    last = steps - 1 - np.argmax(both[..., ::-1], axis=-1)
    wanted = np.take_along_axis(ratio, last[..., None], axis=-1)
    return (
        np.where(both, np.minimum(1.0, wanted / ratio), 0.0),
        np.where(both, np.minimum(1.0, ratio / wanted), 0.0),
    )


def pooled(steps: Sequence[Pair]) -> Pair:
    """Return the labels of candidate and champion over all steps, the current one last, in its proportion."""
    answered = np.array([[side.answered for side in step] for step in steps], dtype=float)
    by_side = factors(answered[:, 0], answered[:, 1])
    counting = np.flatnonzero(by_side[0]).tolist()
    if not set(counting) - {len(steps) - 1}:
        return steps[-1]
    layouts = [_layout(steps[place]) for place in counting]
    mine, theirs = (
        _sum(
            [steps[place][side] for place in counting], by_side[side][counting].tolist(), layouts
        ).model_copy(
            update={
                name: sum(getattr(step[side], name) for step in steps) for name in ("young", "unlabelled")
            }
        )
        for side in range(2)
    )
    return mine, theirs


def _layout(step: Pair) -> Layout:
    layout: Layout = {}
    for side in step:
        for truth in side.truths.values():
            for way, buckets in truth.groups.items():
                layout[way] = max(layout.get(way, 0), len(buckets))
    return layout


def _sum(steps: Sequence[LabelCounts], times: Sequence[float], layouts: Sequence[Layout]) -> LabelCounts:
    """Return the sum of a version's counts, each times a factor; without a source, of those without it."""
    sources = sorted({source for step in steps for source in step.without})
    names = dict.fromkeys(name for step in steps for name in step.truths)
    return LabelCounts(
        right=_dot(times, (step.right for step in steps)),
        requests=round(_dot(times, (step.requests for step in steps))),
        labels=round(_dot(times, (step.labels for step in steps))),
        loss=_dot(times, (step.loss for step in steps)),
        squares=_dot(times, (step.squares for step in steps)),
        has_loss=all(step.has_loss or not step.requests for step in steps),
        sources={
            name: round(count) for name, count in _dots(times, [step.sources for step in steps]).items()
        },
        without={
            source: _sum([step.without.get(source, step) for step in steps], times, layouts)
            for source in sources
        },
        maturity_hours=next((step.maturity_hours for step in reversed(steps)), None),
        answered=_dot(times, (step.answered for step in steps)),
        answers=_dots(times, [step.answers for step in steps]),
        truths={
            name: _truth([step.truths.get(name, NONE) for step in steps], times, layouts) for name in names
        },
    )


def _truth(steps: Sequence[TruthCounts], times: Sequence[float], layouts: Sequence[Layout]) -> TruthCounts:
    ways = dict.fromkeys(way for layout in layouts for way in layout)
    return TruthCounts(
        requests=_dot(times, (step.requests for step in steps)),
        wrong=_dot(times, (step.wrong for step in steps)),
        answers=_dots(times, [step.answers for step in steps]),
        losses=_dot(times, (step.losses for step in steps)),
        loss=_dot(times, (step.loss for step in steps)),
        squares=_dot(times, (step.squares for step in steps)),
        groups={way: _buckets(way, steps, times, layouts) for way in ways},
    )


def _buckets(
    way: str, steps: Sequence[TruthCounts], times: Sequence[float], layouts: Sequence[Layout]
) -> tuple[Bucket, ...]:
    """Return the slices of time of all steps one after the other; a user or group of several steps is in one bucket."""
    tables = []
    for step, factor, layout in zip(steps, times, layouts, strict=True):
        known = np.array(step.groups.get(way, ()), dtype=float).reshape(-1, 4)
        tables.append(factor * np.pad(known, ((0, layout.get(way, 0) - len(known)), (0, 0))))
    if way == TIME:
        rows = np.concatenate(tables)
    else:
        most = max(len(table) for table in tables)
        rows = np.sum([np.pad(table, ((0, most - len(table)), (0, 0))) for table in tables], axis=0)
    return tuple((requests, wrong, losses, loss) for requests, wrong, losses, loss in rows.tolist())


def _dot(times: Sequence[float], values: Iterable[float]) -> float:
    return sum(factor * value for factor, value in zip(times, values, strict=True))


def _dots(times: Sequence[float], values: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for each in values for name in each)
    return {name: _dot(times, (each.get(name, 0.0) for each in values)) for name in names}
