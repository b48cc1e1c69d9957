"""Labels of simulated releases: two truths, each with its own errors and its own share of labels that come.

Where a model has more than two truths, the most common one and all others together stand for them; the rule that a
release applies to more truths finds a little less.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from perennial.core.frozen import Frozen, Share
from perennial.core.release.analysis.labels_of_steps import LabelSteps, factors
from perennial.core.release.analysis.truth_shares import Answered, truth_shares
from perennial.core.release.analysis.within_truth import ErrorCounts, error_bounds
from perennial.core.release.label_counts import LabelCounts
from perennial.core.statistics import Booleans, Floats

Integers = NDArray[np.int64]
LATE = 13
"""Points at which the late labels of an ended step are kept."""
TINY = 1e-9
LIKELY = 0.5
"""Confidence of the range in whose middle the share of a truth is taken."""


class TruthProfile(Frozen):
    """Requests of one truth, such as the failing tests."""

    share: Share = Field(description="of the requests")
    wrong: Share = Field(description="share of wrong answers, of those whose labels come")
    labelled: Share = Field(description="share whose labels come")


TwoTruths = tuple[TruthProfile, TruthProfile]
Drawn = tuple[ErrorCounts, Answered]
"""Labelled requests of a version and their answers, at some looks."""


def increases_by_truth(
    steps: Sequence[tuple[Drawn, Drawn]], overall: float, part: float = 1.0, alone: bool = True
) -> Floats:
    """Return lower bounds of the candidate's increase of wrong answers, as `labels.judge_labels` has them, [ways, ...].

    What makes a proven drop a question to a person (labels as they came, sources) is left out. So are groups of
    requests: simulated requests are independent, and the bound by groups is the smaller one only where they are not,
    or in the first moments of a step.

    Args:
        steps: counts of each step, the current one last.
        part: of the error chance, for the current step.
        alone: the last of several steps is the current one, and is judged alone, too.
    """
    both = [over_steps(steps), *([steps[-1]] if len(steps) > 1 and alone else [])]
    confidence = LabelSteps(len(steps) - alone, part).confidence(overall)
    return np.stack([_increase(sides, confidence) for sides in both])


def _increase(sides: tuple[Drawn, Drawn], confidence: float) -> Floats:
    (errors, answered), (champion_errors, champion_answered) = sides
    low, _ = error_bounds((errors, champion_errors), confidence)
    return truth_shares((answered, champion_answered), confidence).lowest(low)[0]


@dataclass(frozen=True)
class StepLabels:
    """Labels of a simulated step that has ended, as more of its requests become old enough.

    Attributes:
        hours: length of the step.
        old: hours of the step whose requests are old enough, growing, up to `hours`, [points].
        drawn: counts of candidate and champion then, [releases, points, ...].
    """

    hours: float
    old: Floats
    drawn: tuple[Drawn, Drawn]

    def at(self, old: Floats) -> tuple[Drawn, Drawn]:
        """Return the counts where so many hours are old enough, [looks]."""
        places = np.searchsorted(self.old, old + TINY, side="right") - 1
        return part_of(self.drawn, places)


@dataclass(frozen=True)
class LabelHistory:
    """The earlier steps of simulated releases, and which of these would have been aborted there, bool [releases]."""

    steps: tuple[StepLabels, ...]
    failed: Booleans

    def at(self, hours: Floats, delay: float) -> list[tuple[Drawn, Drawn]]:
        """Return the counts of each step at times of the next one, [looks]."""
        counts = []
        for number, step in enumerate(self.steps):
            since = sum(later.hours for later in self.steps[number:])
            counts.append(step.at(np.clip(hours + since - delay, 0.0, step.hours)))
        return counts


def late_points(hours: float, delay: float) -> Floats:
    """Return hours of an ended step at which its labels are kept: those that are still to come then."""
    return np.unique(np.linspace(max(0.0, hours - delay), hours, LATE))


def _at(drawn: Drawn, places: Integers) -> Drawn:
    errors, answered = drawn
    return (
        ErrorCounts(errors.wrong[:, places], errors.labelled[:, places]),
        Answered(
            answered.labelled[:, places],
            answered.cells[:, places],
            answered.answers[:, places],
            answered.answered[:, places],
        ),
    )


def part_of(drawn: tuple[Drawn, Drawn], places: Integers) -> tuple[Drawn, Drawn]:
    """Return the counts of candidate and champion at some of their points."""
    return _at(drawn[0], places), _at(drawn[1], places)


def over_steps(steps: Sequence[tuple[Drawn, Drawn]]) -> tuple[Drawn, Drawn]:
    """Return the sums of candidate and champion over all steps, the current one last (`labels_of_steps.pooled`)."""
    answered = [np.stack([step[side][1].answered for step in steps], axis=-1) for side in range(2)]
    mine, theirs = (
        _sum([step[side] for step in steps], times)
        for side, times in enumerate(factors(answered[0], answered[1]))
    )
    return mine, theirs


def _sum(steps: Sequence[Drawn], times: Floats) -> Drawn:
    errors = [step[0] for step in steps]
    answered = [step[1] for step in steps]
    each = [times[..., place] for place in range(len(steps))]
    labelled = _dot(each, [step.labelled for step in answered])
    return (
        ErrorCounts(_dot(each, [step.wrong for step in errors]), labelled),
        Answered(
            labelled,
            _dot(each, [step.cells for step in answered]),
            _dot(each, [step.answers for step in answered]),
            _dot(each, [step.answered for step in answered]),
        ),
    )


def _dot(times: Sequence[Floats], counts: Sequence[Floats]) -> Floats:
    pairs = zip(times, counts, strict=True)
    scaled = [factor.reshape(factor.shape + (1,) * (of.ndim - factor.ndim)) * of for factor, of in pairs]
    return np.asarray(np.sum(scaled, axis=0))


def draw_labels(
    requests: Integers, truths: TwoTruths, drop: float, events: Callable[[Integers, float], Integers]
) -> Drawn:
    """Draw the labelled requests of a version and their answers.

    Args:
        requests: old enough at each look, int [looks].
        drop: by how much more of the answers are wrong, in each truth.
        events: number at each look and chance -> events, int [releases, looks].
    """
    wrong, labelled, cells, first = [], [], [], []
    total = np.zeros(len(requests), dtype=np.int64)
    for place, truth in enumerate(truths):
        chance = min(1.0, truth.wrong + drop)
        with_truth = np.floor(requests * truth.share).astype(np.int64)
        known = np.floor(with_truth * truth.labelled).astype(np.int64)
        errors, unseen = events(known, chance), events(with_truth - known, chance)
        right = known - errors
        first.append(with_truth - errors - unseen if place == 0 else errors + unseen)
        cells.append(np.stack([right, errors] if place == 0 else [errors, right], axis=-1))
        wrong.append(errors)
        labelled.append(np.broadcast_to(known, errors.shape))
        total += with_truth
    by_truth = np.stack(labelled, axis=-1).astype(float)
    given = first[0] + first[1]
    answered = Answered(
        by_truth,
        np.stack(cells, axis=-2).astype(float),
        np.stack([given, total - given], axis=-1).astype(float),
        np.broadcast_to(total, given.shape).astype(float),
    )
    return ErrorCounts(np.stack(wrong, axis=-1).astype(float), by_truth), answered


def observed_truths(versions: Sequence[LabelCounts]) -> TwoTruths | None:
    """Return the most common truth and all others, as the labels of some versions show them; None without both."""
    known: dict[str, float] = {}
    for counts in versions:
        for name, truth in counts.truths.items():
            known[name] = known.get(name, 0.0) + truth.requests
    first = max(known, key=lambda name: known[name], default="")
    answered = sum(counts.answered for counts in versions)
    if not answered or not 0 < known[first] < sum(known.values()):
        return None
    labelled, wrong, given = (np.zeros(2) for _ in range(3))
    for counts in versions:
        for name, truth in counts.truths.items():
            place = 0 if name == first else 1
            labelled[place] += truth.requests
            wrong[place] += truth.wrong
            given[place] += truth.answers.get(first, 0.0)
    answers = sum(counts.answers.get(first, 0.0) for counts in versions)
    side = Answered(
        labelled,
        np.stack([given, labelled - given], axis=-1),
        np.array([answers, answered - answers]),
        np.asarray(float(answered)),
    )
    nothing = Answered(np.zeros(2), np.zeros((2, 2)), np.zeros(2), np.asarray(0.0))
    shares = truth_shares((side, nothing), LIKELY)
    least, most = shares.lowest(np.array([1.0, 0.0]))[0], -shares.lowest(np.array([-1.0, 0.0]))[0]
    middle = labelled[0] / labelled.sum() if np.isnan(least) else (least + most) / 2.0
    share = np.clip([middle, 1.0 - middle], labelled / answered, 1.0)
    share = share / share.sum()
    # Simulated requests are all of them, those of askers without labels, too.
    of_all = answered / (answered + sum(counts.unlabelled for counts in versions))
    profiles = [
        TruthProfile(
            share=float(share[place]),
            wrong=float(wrong[place] / labelled[place]),
            labelled=float(min(1.0, labelled[place] / (share[place] * answered)) * of_all),
        )
        for place in range(2)
    ]
    return profiles[0], profiles[1]
