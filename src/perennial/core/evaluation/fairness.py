"""Are a model's answers about as good for every group of a column? Figures in, verdict out.

The figures of each group come from Fairlearn (`perennial.ports.GroupFigures`). The intervals are ours:
Fairlearn's own bootstrap draws single rows, and the rows of one CI cycle are right or wrong together, so that
its intervals are far too narrow here. Whole cycles are drawn instead (A. C. Cameron, J. B. Gelbach,
D. L. Miller, "Bootstrap-Based Improvements for Inference with Clustered Errors", Review of Economics and
Statistics 90, 2008).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from perennial.core.gate_spec import FairnessSpec, GroupMeasure
from perennial.core.verdict import Judgement, Verdict, worst

CONFIDENCE = 0.95
SHOWN_ONLY = "shown: no sensitive column"


@dataclass(frozen=True)
class Answers:
    """What was answered, what came true, and for whom; all [rows]."""

    target: np.ndarray
    """bool"""
    answer: np.ndarray
    """bool"""
    group: np.ndarray
    """int, what is drawn as a whole (a CI cycle)"""
    values: np.ndarray
    """str, of the column that is judged"""

    def where(self, rows: np.ndarray) -> Answers:
        return Answers(self.target[rows], self.answer[rows], self.group[rows], self.values[rows])

    def counted(self, measure: GroupMeasure) -> np.ndarray:
        """bool [rows]: those that a measure is a share of."""
        match measure:
            case GroupMeasure.FALSE_NEGATIVE_RATE:
                return self.target
            case GroupMeasure.FALSE_POSITIVE_RATE:
                return ~self.target
        return np.ones(len(self.target), dtype=bool)

    def hits(self, measure: GroupMeasure) -> np.ndarray:
        """bool [rows]: the counted rows that make up the share."""
        if measure is GroupMeasure.SELECTION_RATE:
            return self.answer
        return (self.answer != self.target) & self.counted(measure)


@dataclass(frozen=True)
class Gap:
    """Largest minus smallest figure of the groups, with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"gap {self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def comparable(answers: Answers, measure: GroupMeasure, min_rows: int, min_groups: int) -> list[str]:
    """The values of the column with enough counted rows in enough cycles to say anything, sorted."""
    counted = answers.where(answers.counted(measure))
    names, sizes = np.unique(counted.values, return_counts=True)
    return [
        str(name)
        for name, size in zip(names, sizes, strict=True)
        if size >= min_rows and len(np.unique(counted.group[counted.values == name])) >= min_groups
    ]


def gap(
    answers: Answers,
    measure: GroupMeasure,
    figures: Mapping[str, float],
    resamples: int,
    random: np.random.Generator,
) -> Gap:
    """The gap between the groups that `figures` names.

    With several groups the gap of a sample is never zero, also where there is none. So the interval holds
    for all pairs of groups at once, as Tukey's: what is added and taken away is the 95 % quantile of the
    largest error of any pair, which is the range of the groups' errors (R. Beran, "Balanced Simultaneous
    Confidence Sets", Journal of the American Statistical Association 83, 1988).

    Args:
        figures: group -> value of the measure; two at least.
    """
    names = sorted(figures)
    rates = np.array([figures[name] for name in names])
    errors = _resampled(answers, measure, names, resamples, random) - rates
    # A resample without any row of a group says nothing of it.
    ranges = np.nanmax(errors, axis=1) - np.nanmin(errors, axis=1)
    half = float(np.quantile(ranges, CONFIDENCE))
    value = float(rates.max() - rates.min())
    return Gap(value, max(value - half, 0.0), min(value + half, 1.0))


def _resampled(
    answers: Answers, measure: GroupMeasure, names: list[str], resamples: int, random: np.random.Generator
) -> np.ndarray:
    """The measure of each group in each resample of whole cycles, [resamples, groups]."""
    cycles, code = np.unique(answers.group, return_inverse=True)
    hit, counted = answers.hits(measure), answers.counted(measure)
    hits, rows = np.zeros((len(names), len(cycles))), np.zeros((len(names), len(cycles)))
    for place, name in enumerate(names):
        mine = answers.values == name
        hits[place] = np.bincount(code[mine], weights=hit[mine], minlength=len(cycles))
        rows[place] = np.bincount(code[mine], weights=counted[mine], minlength=len(cycles))
    # How often each cycle is drawn, [resamples, cycles]: sums instead of copies of rows.
    drawn = random.multinomial(len(cycles), np.full(len(cycles), 1 / len(cycles)), size=resamples)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (drawn @ hits.T) / (drawn @ rows.T)


def too_few(answers: Answers, measure: GroupMeasure, limit: float, sensitive: bool) -> Judgement:
    """Fewer than two groups can be compared.

    Args:
        sensitive: somebody named this column as one to protect: then a person looks.
    """
    names, counts = np.unique(answers.values[answers.counted(measure)], return_counts=True)
    sizes = ", ".join(f"{name}: {count}" for name, count in zip(names, counts, strict=True))
    return Judgement(
        rule=measure.value,
        verdict=Verdict.UNSURE if sensitive else Verdict.PASS,
        observed=f"{_words(measure)} too few to say ({sizes or 'no rows'})",
        needed=_needed(measure, limit) if sensitive else SHOWN_ONLY,
    )


def judge_gap(
    measure: GroupMeasure, figures: Mapping[str, float], found: Gap, limit: float, sensitive: bool
) -> Judgement:
    """FAIL when the gap is proven larger than the limit, UNSURE when it is larger and not proven.

    Between the segments of a column that nobody protects it is shown and not judged: some are harder to
    predict for every model (a test without history), and the gate's rule `worst_slice` compares them with
    the champion.
    """
    verdict = Verdict.PASS
    if sensitive and found.value > limit:
        verdict = Verdict.FAIL if found.low > limit else Verdict.UNSURE
    told = ", ".join(f"{name} {figure:.3f}" for name, figure in sorted(figures.items()))
    return Judgement(
        rule=measure.value,
        verdict=verdict,
        observed=f"{_words(measure)} {found} ({told})",
        needed=_needed(measure, limit) if sensitive else SHOWN_ONLY,
    )


def together(column: str, judged: list[Judgement]) -> Judgement:
    """The measures of one column as one rule of the gate; the worst counts."""
    return Judgement(
        rule=f"fairness_{column}",
        verdict=worst(judged),
        observed="; ".join(one.observed for one in judged),
        needed="; ".join(dict.fromkeys(one.needed for one in judged)),
    )


def limits(spec: FairnessSpec) -> list[tuple[GroupMeasure, float]]:
    """The measures that the spec bounds, in a fixed order."""
    return [(measure, spec.gaps[measure]) for measure in GroupMeasure if measure in spec.gaps]


def _words(measure: GroupMeasure) -> str:
    return measure.value.replace("_", " ")


def _needed(measure: GroupMeasure, limit: float) -> str:
    return f"gap of {_words(measure)}s <= {limit:g}"
