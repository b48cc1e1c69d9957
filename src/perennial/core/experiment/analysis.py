"""Which arm of an A/B test is better, by how much, and may one stop now?

Two answers side by side. The posterior (of each arm, of the difference, the chance to be better, the expected
loss) describes what is known now; read daily and acted on at 95 % it declares a false winner about every
fourth time. So the decision goes by a confidence sequence, which may be looked at whenever one likes. All
figures of the posterior are integrals, computed by quadrature: no random draws.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Any

import numpy as np
from pydantic import Field, model_validator
from scipy.optimize import brentq
from scipy.stats import beta, gamma, t

from perennial.core.experiment.design import Kind, required_sample_size
from perennial.core.release.sample_ratio import SampleRatio, sample_ratio
from perennial.core.spec import Frozen

LEAST = 3
"""Observations of an arm below which a mean has no posterior with a variance."""
FIRST_LOOK = 50
"""Observations of each arm before which nothing is decided."""
TUNED_FOR = 1000
"""Observations of all arms at which the asymptotic confidence sequence is tightest; must not depend on the data."""
POWER = 0.8
"""Chance to find what `VariantComparison.needed` is stated for."""
KNOTS = np.array([1e-12, 1e-9, 1e-6, 1e-4, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999, 1 - 1e-6, 1 - 1e-9])
NODES, WEIGHTS = np.polynomial.legendre.leggauss(24)


class Recommendation(StrEnum):
    PROMOTE = "PROMOTE"
    """The treatment is proven better by more than nothing."""
    KEEP = "KEEP"
    """An advantage worth having is excluded."""
    CONTINUE = "CONTINUE"


class Variant(Frozen):
    """What one arm observed, as sufficient statistics."""

    name: str
    n: int = Field(ge=0, description="observations; of counts, units of exposure are in `exposure`")
    total: float = Field(description="sum of the outcomes: successes, rewards or events")
    squares: float = Field(0.0, ge=0, description="sum of squared outcomes; continuous only")
    exposure: float | None = Field(None, gt=0, description="count only; n where it is not given")

    @property
    def mean(self) -> float:
        return self.total / (self.exposure or self.n) if self.n else math.nan

    @property
    def variance(self) -> float:
        """Of one outcome, unbiased; continuous only."""
        return max(0.0, (self.squares - self.total**2 / self.n) / (self.n - 1))

    @model_validator(mode="after")
    def enough_squares(self) -> Variant:
        if self.squares and self.squares < self.total**2 / max(1, self.n) * (1 - 1e-9):
            raise ValueError(f"{self.name}: no values have this sum and this sum of squares")
        return self


class Interval(Frozen):
    low: float
    high: float


class VariantComparison(Frozen):
    """A treatment against the control."""

    control: str
    treatment: str
    superiority: float = Field(description="posterior chance that the treatment's mean is higher")
    difference: float = Field(description="of the observed means")
    difference_interval: Interval = Field(description="95 % credible, equal tails")
    lift: float | None = Field(description="relative; None for continuous outcomes and a control of zero")
    lift_interval: Interval | None
    expected_loss: float = Field(description="of choosing the treatment: mean of what it is worse by, else 0")
    sequential_interval: Interval = Field(description="of the difference, valid at every look")
    decision: Recommendation
    why: str
    needed: int | None = Field(
        description="observations per arm that find the difference worth a change (where none is named: the "
        "one seen) with a chance of 80 % in one look at the end"
    )


class ExperimentAnalysis(Frozen):
    kind: Kind
    arms: tuple[Variant, ...] = Field(min_length=2, description="the control first")
    means: tuple[Interval, ...] = Field(description="95 % credible, of each arm's mean")
    comparisons: tuple[VariantComparison, ...]
    ratio: SampleRatio


def analyse(
    kind: Kind,
    arms: tuple[Variant, ...],
    shares: tuple[float, ...],
    alpha: float = 0.05,
    worth: float = 0.0,
    assigned: tuple[int, ...] | None = None,
    mismatch: float = 0.01,
) -> ExperimentAnalysis:
    """Compare every arm with the first.

    Args:
        shares: of assignments that each arm was to get; any scale.
        alpha: chance that any decision, at any look, is wrong; shared by the treatments.
        worth: the smallest difference of means worth a change; excluded, the control is kept.
        assigned: users of each arm, with an outcome or not; None: all have one.
        mismatch: chance of a false alarm, over all looks, that the arms did not get their shares.

    Raises:
        ValueError: an arm has fewer than three observations, or a binary one more successes than trials.
    """
    for arm in arms:
        if arm.n < LEAST:
            raise ValueError(f"arm {arm.name} has {arm.n} observations; {LEAST} are needed")
    ratio = sample_ratio(assigned or [arm.n for arm in arms], shares, mismatch)
    each = alpha / (len(arms) - 1)
    control, *others = arms
    return ExperimentAnalysis(
        kind=kind,
        arms=arms,
        means=tuple(_central(posterior(kind, arm)) for arm in arms),
        comparisons=tuple(_compare(kind, control, one, each, worth, ratio.alarm) for one in others),
        ratio=ratio,
    )


def posterior(kind: Kind, arm: Variant) -> Any:
    """Of the arm's mean, as a frozen scipy distribution, under Jeffreys' prior.

    Binary: Beta; count: Gamma; continuous: Student's t of the mean with unknown variance, whose central
    interval is the classical one (A. Gelman et al., "Bayesian Data Analysis", 3rd ed., 2.4 to 3.2).
    """
    if kind == "binary":
        if not 0 <= arm.total <= arm.n:
            raise ValueError(f"arm {arm.name}: {arm.total:g} successes of {arm.n}")
        return beta(arm.total + 0.5, arm.n - arm.total + 0.5)
    if kind == "count":
        if arm.total < 0:
            raise ValueError(f"arm {arm.name}: {arm.total:g} events")
        return gamma(arm.total + 0.5, scale=1.0 / (arm.exposure or arm.n))
    if arm.variance == 0.0:
        raise ValueError(f"arm {arm.name}: all outcomes are the same")
    return t(arm.n - 1, loc=arm.mean, scale=math.sqrt(arm.variance / arm.n))


def superiority(control: Any, treatment: Any) -> float:
    """P(treatment > control) of two independent posteriors."""
    return _integral(control, treatment, lambda x: control.pdf(x) * treatment.sf(x))


def expected_loss(control: Any, treatment: Any) -> float:
    """E[max(control - treatment, 0)] = the integral of P(treatment <= x < control) over x."""
    return _integral(control, treatment, lambda x: treatment.cdf(x) * control.sf(x))


def sequential_bounds(kind: Kind, control: Variant, treatment: Variant, alpha: float) -> tuple[float, float]:
    """Bounds of treatment minus control, valid at all looks together.

    The asymptotic confidence sequence of I. Waudby-Smith et al., "Time-uniform central limit theory and
    asymptotic confidence sequences" (Annals of Statistics 2024), over both arms together with the variance of
    the difference. It leans on the central limit theorem: no decision before `FIRST_LOOK`.
    """
    n = control.n + treatment.n
    variance = n * (_variance_of_mean(kind, control) + _variance_of_mean(kind, treatment))
    tuned = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / TUNED_FOR
    spread = n * tuned + 1
    half = math.sqrt(variance * 2 * spread / (n**2 * tuned) * math.log(math.sqrt(spread) / alpha))
    middle = treatment.mean - control.mean
    return middle - half, middle + half


def _variance_of_mean(kind: Kind, arm: Variant) -> float:
    """Half an event is added, so that an arm without events does not look certain."""
    if kind == "binary":
        rate = (arm.total + 0.5) / (arm.n + 1)
        return rate * (1 - rate) / arm.n
    if kind == "count":
        return (arm.total + 0.5) / (arm.exposure or arm.n) ** 2
    return arm.variance / arm.n


def _compare(
    kind: Kind, control: Variant, treatment: Variant, alpha: float, worth: float, mistrust: bool
) -> VariantComparison:
    a, b = posterior(kind, control), posterior(kind, treatment)
    low, high = sequential_bounds(kind, control, treatment, alpha)
    early = min(control.n, treatment.n) < FIRST_LOOK
    decision, why = _decide(low, high, worth, mistrust, early)
    relative = kind != "continuous" and control.mean > 0
    return VariantComparison(
        control=control.name,
        treatment=treatment.name,
        superiority=superiority(a, b),
        difference=treatment.mean - control.mean,
        difference_interval=_difference_interval(a, b),
        lift=treatment.mean / control.mean - 1.0 if relative else None,
        lift_interval=_lift_interval(a, b) if relative else None,
        expected_loss=expected_loss(a, b),
        sequential_interval=Interval(low=low, high=high),
        decision=decision,
        why=why,
        needed=_needed(kind, control, treatment, worth, alpha),
    )


def _needed(kind: Kind, control: Variant, treatment: Variant, worth: float, alpha: float) -> int | None:
    spread = (control.variance + treatment.variance) / 2 if kind == "continuous" else 0.0
    effect = worth or treatment.mean - control.mean
    return required_sample_size(kind, control.mean, effect, math.sqrt(spread), alpha, POWER)


def _decide(low: float, high: float, worth: float, mistrust: bool, early: bool) -> tuple[Recommendation, str]:
    if mistrust:
        return (
            Recommendation.CONTINUE,
            "the arms did not get their shares: mend the assignment, compare nothing",
        )
    if early:
        return Recommendation.CONTINUE, f"not decided before {FIRST_LOOK} observations of each arm"
    if low > 0:
        return Recommendation.PROMOTE, f"better by at least {low:.4g} at every look"
    if high < worth or high < 0:
        return Recommendation.KEEP, f"better by at most {high:.4g}: not worth {worth:g}"
    return Recommendation.CONTINUE, f"between {low:.4g} and {high:.4g}: not decided yet"


def _difference_interval(a: Any, b: Any) -> Interval:
    reach = 20 * (a.std() + b.std()) if math.isfinite(a.std() + b.std()) else b.ppf(0.999) - a.ppf(0.001)
    middle = b.mean() - a.mean()

    def below(d: float) -> float:
        return _integral(a, b, lambda x: a.pdf(x) * b.cdf(x + d), shift=d)

    return Interval(
        **{
            name: float(brentq(lambda d, q=q: below(d) - q, middle - reach, middle + reach, xtol=1e-10))
            for name, q in (("low", 0.025), ("high", 0.975))
        }
    )


def _lift_interval(a: Any, b: Any) -> Interval:
    """Of b / a - 1 for positive a and b."""

    def below(ratio: float) -> float:
        return _integral(a, b, lambda x: a.pdf(x) * b.cdf(x * ratio), scale=ratio)

    least, most = b.ppf(1e-6) / a.ppf(1 - 1e-6), b.ppf(1 - 1e-6) / a.ppf(1e-6)
    return Interval(
        **{
            name: float(brentq(lambda r, q=q: below(r) - q, least, most, xtol=1e-10)) - 1.0
            for name, q in (("low", 0.025), ("high", 0.975))
        }
    )


def _integral(a: Any, b: Any, value: Any, shift: float = 0.0, scale: float = 1.0) -> float:
    """Gauss-Legendre between the quantiles of both (b moved by `shift`, shrunk by `scale`): precise however
    much narrower one is than the other."""
    edges = np.unique(np.concatenate([a.ppf(KNOTS), (b.ppf(KNOTS) - shift) / scale]))
    width = np.diff(edges)[:, None] / 2
    points = edges[:-1, None] + width * (NODES + 1)
    return float((value(points) * WEIGHTS * width).sum())


def _central(distribution: Any) -> Interval:
    return Interval(low=float(distribution.ppf(0.025)), high=float(distribution.ppf(0.975)))
