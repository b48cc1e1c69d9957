"""Fairness between the groups of a column: gaps of error rates with intervals, and their judgement.

The figures of each group come from Fairlearn (`perennial.ports.GroupFigures`), the intervals from here:
Fairlearn's bootstrap resamples single rows, but rows of a CI cycle are correlated, so its intervals are far too
narrow. Whole cycles are resampled instead (A. C. Cameron, J. B. Gelbach, D. L. Miller, "Bootstrap-Based
Improvements for Inference with Clustered Errors", Review of Economics and Statistics 90, 2008).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from perennial.core.evaluation.metrics import Estimate, resample_groups
from perennial.core.gate_spec import FairnessSpec, GroupMeasure
from perennial.core.verdict import Judgement, Verdict, worst

BoolArray = NDArray[np.bool_]
CONFIDENCE = 0.95
SHOWN_ONLY = "shown: no sensitive column"


@dataclass(frozen=True)
class Answers:
    """Answers, targets and groups of the evaluated rows; all arrays are [rows]."""

    target: BoolArray
    answer: BoolArray
    group: np.ndarray
    """int, the CI cycle, resampled as a whole"""
    values: np.ndarray
    """str, values of the judged column"""

    def where(self, rows: np.ndarray) -> Answers:
        return Answers(self.target[rows], self.answer[rows], self.group[rows], self.values[rows])

    def counted(self, measure: GroupMeasure) -> BoolArray:
        """Return the rows in the denominator of a measure, bool [rows]."""
        match measure:
            case GroupMeasure.FALSE_NEGATIVE_RATE:
                return self.target
            case GroupMeasure.FALSE_POSITIVE_RATE:
                return ~self.target
        return np.ones(len(self.target), dtype=bool)

    def hits(self, measure: GroupMeasure) -> BoolArray:
        """Return the rows in the numerator of a measure, bool [rows]."""
        if measure is GroupMeasure.SELECTION_RATE:
            return self.answer
        wrong: BoolArray = self.answer != self.target
        return wrong & self.counted(measure)


class Gap(Estimate):
    """Largest minus smallest figure of the groups, with its 95 % interval."""

    def __str__(self) -> str:
        return f"gap {self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def comparable(answers: Answers, measure: GroupMeasure, min_rows: int, min_groups: int) -> list[str]:
    """Return the sorted values of the column with enough counted rows in enough cycles."""
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
    """Return the gap between the groups of `figures`.

    The gap of a sample of several groups is never zero, even without a true gap. So the interval holds for all
    pairs of groups at once, as Tukey's: its half width is the 95 % quantile of the largest error of any pair,
    which is the range of the errors of the groups (R. Beran, "Balanced Simultaneous Confidence Sets", Journal
    of the American Statistical Association 83, 1988).

    Args:
        figures: group -> value of the measure; at least two groups.
    """
    names = sorted(figures)
    rates = np.array([figures[name] for name in names])
    resampled, cycles = _resampled(answers, measure, names, resamples, random)
    # A resample without rows of a group says nothing of its gap.
    errors = (resampled - rates)[np.isfinite(resampled).all(axis=1)]
    value = float(rates.max() - rates.min())
    if not len(errors):
        return Gap(value=value, low=0.0, high=1.0)
    ranges = errors.max(axis=1) - errors.min(axis=1)
    half = float(np.quantile(ranges, CONFIDENCE)) * _widened(cycles)
    return Gap(value=value, low=max(value - half, 0.0), high=min(value + half, 1.0))


def _widened(cycles: int) -> float:
    """Return the factor for the errors of a bootstrap of few clusters, which come out too small.

    Those of resamples are smaller by sqrt((G - 1) / G) than those of samples, and the quantile of few clusters is that
    of Student's t with G - 1 degrees of freedom (Cameron, Gelbach and Miller 2008), not of the normal distribution.
    """
    tail = (1 + CONFIDENCE) / 2
    return float(math.sqrt(cycles / (cycles - 1)) * t.ppf(tail, cycles - 1) / norm.ppf(tail))


def _resampled(
    answers: Answers, measure: GroupMeasure, names: list[str], resamples: int, random: np.random.Generator
) -> tuple[np.ndarray, int]:
    """Resample whole cycles, of those with counted rows of a group.

    Returns:
        The measure of each group in each resample, [resamples, groups], NaN for a group without rows; and the number of
        cycles of the group that is in the fewest.
    """
    hit, counted = answers.hits(measure), answers.counted(measure)
    rows = counted & np.isin(answers.values, names)
    values, hit = answers.values[rows], hit[rows]
    cycles, code = np.unique(answers.group[rows], return_inverse=True)
    hits, sizes = np.zeros((len(names), len(cycles))), np.zeros((len(names), len(cycles)))
    for place, name in enumerate(names):
        inside = values == name
        hits[place] = np.bincount(code[inside], weights=hit[inside], minlength=len(cycles))
        sizes[place] = np.bincount(code[inside], minlength=len(cycles))
    weights = resample_groups(len(cycles), resamples, random)
    with np.errstate(invalid="ignore", divide="ignore"):
        rates: np.ndarray = (weights @ hits.T) / (weights @ sizes.T)
    return rates, int((sizes > 0).sum(axis=1).min())


def too_few(answers: Answers, measure: GroupMeasure, limit: float, sensitive: bool) -> Judgement:
    """Judge a column with fewer than two comparable groups.

    Args:
        sensitive: the spec protects this column, so a person must decide.
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
    measure: GroupMeasure, figures: Mapping[str, float], measured: Gap, limit: float, sensitive: bool
) -> Judgement:
    """Return FAIL if the gap is proven larger than the limit, UNSURE if it is larger but not proven.

    The gap of an unprotected column is shown but not judged: some segments are harder to predict for every
    model (a test without history), and the rule `worst_slice` of the gate compares them with the champion.
    """
    verdict = Verdict.PASS
    if sensitive and measured.value > limit:
        verdict = Verdict.FAIL if measured.low > limit else Verdict.UNSURE
    listed = ", ".join(f"{name} {figure:.3f}" for name, figure in sorted(figures.items()))
    return Judgement(
        rule=measure.value,
        verdict=verdict,
        observed=f"{_words(measure)} {measured} ({listed})",
        needed=_needed(measure, limit) if sensitive else SHOWN_ONLY,
    )


def together(column: str, judged: list[Judgement]) -> Judgement:
    """Combine the measures of a column into a rule of the gate; the worst verdict counts."""
    return Judgement(
        rule=f"fairness_{column}",
        verdict=worst(judged),
        observed="; ".join(judgement.observed for judgement in judged),
        needed="; ".join(dict.fromkeys(judgement.needed for judgement in judged)),
    )


def limits(spec: FairnessSpec) -> list[tuple[GroupMeasure, float]]:
    """Return the measures with a limit in the spec, in a fixed order."""
    return [(measure, spec.gaps[measure]) for measure in GroupMeasure if measure in spec.gaps]


def _words(measure: GroupMeasure) -> str:
    return measure.value.replace("_", " ")


def _needed(measure: GroupMeasure, limit: float) -> str:
    return f"gap of {_words(measure)}s <= {limit:g}"
