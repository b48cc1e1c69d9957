"""Compare the variants of an A/B test: which is better, by how much, and may the test stop now?

The posterior describes the present knowledge. A decision at 95 % on it, read daily, declares a false winner in
about a quarter of the tests. So the decision follows a confidence sequence, which is valid at every look.
"""

from __future__ import annotations

import math
from enum import StrEnum

from pydantic import Field

from perennial.core.experiment.design import Kind
from perennial.core.experiment.posterior import (
    Interval,
    Variant,
    difference_interval,
    expected_loss,
    lift_interval,
    mean_interval,
    posterior,
    superiority,
)
from perennial.core.experiment.sequence import (
    FEWEST_EVENTS,
    FIRST_LOOK,
    decision_size,
    largest_part,
    sequential_bounds,
)
from perennial.core.frozen import Frozen
from perennial.core.release.analysis.sample_ratio import SampleRatio, sample_ratio

LEAST = 3
"""Observations that a mean needs to have a posterior with a variance."""
POWER = 0.8
"""Power of the decision for which `VariantComparison.needed` is stated."""


class Recommendation(StrEnum):
    PROMOTE = "PROMOTE"
    """The treatment is proven better than the control."""
    KEEP = "KEEP"
    """A worthwhile advantage of the treatment is excluded."""
    CONTINUE = "CONTINUE"


class VariantComparison(Frozen):
    """Comparison of a treatment with the control."""

    control: str
    treatment: str
    superiority: float = Field(description="posterior probability that the mean of the treatment is higher")
    difference: float = Field(description="difference of the observed means")
    difference_interval: Interval = Field(description="95 % credible, equal tails")
    lift: float | None = Field(description="relative; None for continuous outcomes or a control mean of zero")
    lift_interval: Interval | None
    expected_loss: float = Field(
        description="expected loss of choosing the treatment: E[max(control - it, 0)]"
    )
    sequential_interval: Interval = Field(
        description="confidence sequence of the difference, valid at every look"
    )
    decision: Recommendation
    why: str
    needed: int | None = Field(
        description="observations of both variants together after which this decision detects the smallest "
        "difference worth a change (if not given: the observed difference) with 80 % power"
    )


class ExperimentAnalysis(Frozen):
    """Analysis of an A/B test."""

    kind: Kind
    variants: tuple[Variant, ...] = Field(
        min_length=2, serialization_alias="arms", description="the control first"
    )
    means: tuple[Interval, ...] = Field(description="95 % credible interval of the mean of each variant")
    comparisons: tuple[VariantComparison, ...]
    ratio: SampleRatio


def analyse(
    kind: Kind,
    variants: tuple[Variant, ...],
    shares: tuple[float, ...],
    alpha: float = 0.05,
    worth: float = 0.0,
    assigned: tuple[int, ...] | None = None,
    mismatch: float = 0.01,
) -> ExperimentAnalysis:
    """Compare every variant with the first.

    Args:
        shares: intended share of the assignments of each variant; any scale.
        alpha: probability that any decision at any look is wrong; divided among the treatments.
        worth: smallest difference of means worth a change; if it is excluded, the control is kept.
        assigned: users of each variant, with or without an outcome; None if all have an outcome.
        mismatch: probability of a false alarm, over all looks, that the shares are not as intended.

    Raises:
        ValueError: a variant has fewer than three observations, or a binary variant more successes than trials.
    """
    for variant in variants:
        if variant.n < LEAST:
            raise ValueError(f"variant {variant.name} has {variant.n} observations; {LEAST} are needed")
    ratio = sample_ratio(assigned or [variant.n for variant in variants], shares, mismatch)
    each = alpha / (len(variants) - 1)
    control, *treatments = variants
    return ExperimentAnalysis(
        kind=kind,
        variants=variants,
        means=tuple(mean_interval(posterior(kind, variant)) for variant in variants),
        comparisons=tuple(
            _compare(kind, control, treatment, each, worth, ratio.alarm, share / (shares[0] + share))
            for treatment, share in zip(treatments, shares[1:], strict=True)
        ),
        ratio=ratio,
    )


def _compare(
    kind: Kind,
    control: Variant,
    treatment: Variant,
    alpha: float,
    worth: float,
    mismatch: bool,
    share: float,
) -> VariantComparison:
    a, b = posterior(kind, control), posterior(kind, treatment)
    low, high = sequential_bounds(kind, control, treatment, alpha)
    early = min(control.n, treatment.n) < FIRST_LOOK
    part = 0.0 if kind == "binary" else largest_part(kind, control, treatment)  # binary bounds are exact then
    decision, why = _decide(low, high, worth, mismatch, early, part)
    relative = kind != "continuous" and control.mean > 0
    return VariantComparison(
        control=control.name,
        treatment=treatment.name,
        superiority=superiority(a, b),
        difference=treatment.mean - control.mean,
        difference_interval=difference_interval(a, b),
        lift=treatment.mean / control.mean - 1.0 if relative else None,
        lift_interval=lift_interval(a, b) if relative else None,
        expected_loss=expected_loss(a, b),
        sequential_interval=Interval(low=low, high=high),
        decision=decision,
        why=why,
        needed=_needed(kind, control, treatment, worth, alpha, share),
    )


def _needed(
    kind: Kind, control: Variant, treatment: Variant, worth: float, alpha: float, share: float
) -> int | None:
    spread = (control.variance + treatment.variance) / 2 if kind == "continuous" else 0.0
    if kind == "count":  # the variance of the events of a unit of exposure, as the bounds take it
        spread = sum(v.deviations(kind)[0] / (v.exposure or v.n) for v in (control, treatment)) / 2
    effect = worth or treatment.mean - control.mean
    return decision_size(kind, control.mean, effect, math.sqrt(spread), alpha, POWER, share)


def _decide(
    low: float, high: float, worth: float, mismatch: bool, early: bool, part: float
) -> tuple[Recommendation, str]:
    """Return the recommendation and its reason.

    Args:
        low, high: sequential bounds of the difference.
        mismatch: the variants did not get their shares.
        early: a variant has fewer than `FIRST_LOOK` observations.
        part: largest part of the variance of the difference that a single observation holds.
    """
    if mismatch:
        return (
            Recommendation.CONTINUE,
            "shares are not as intended: repair the assignment, ignore the figures",
        )
    if early:
        return Recommendation.CONTINUE, f"not decided before {FIRST_LOOK} observations of each variant"
    if part > 1.0 / FEWEST_EVENTS:
        text = f"a single observation holds {part:.0%} of the variance: no decision above {1 / FEWEST_EVENTS:.0%}"
        return Recommendation.CONTINUE, text
    if low > 0:
        return Recommendation.PROMOTE, f"better by at least {low:.4g} at every look"
    if high < worth or high < 0:
        return Recommendation.KEEP, f"better by at most {high:.4g}: not worth {worth:g}"
    return Recommendation.CONTINUE, f"between {low:.4g} and {high:.4g}: not decided yet"
