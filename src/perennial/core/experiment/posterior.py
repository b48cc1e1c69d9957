"""Posterior distributions of variants, and the figures derived from them.

All figures are integrals, computed by quadrature: no random draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy  # loads its parts, here those of a second, when they are first used
from pydantic import Field, model_validator

from perennial.core.experiment.design import Kind
from perennial.core.frozen import Frozen

KNOTS = np.array([1e-12, 1e-9, 1e-6, 1e-4, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999, 1 - 1e-6, 1 - 1e-9])
NODES, WEIGHTS = np.polynomial.legendre.leggauss(24)


class Variant(Frozen):
    """Observations of a variant, as sufficient statistics."""

    name: str
    n: int = Field(
        ge=0, description="number of observations; for counts, `exposure` has the units of exposure"
    )
    total: float = Field(description="sum of the outcomes: successes, rewards or events")
    squares: float = Field(0.0, ge=0, description="sum of squared outcomes; continuous only")
    exposure: float | None = Field(None, gt=0, description="count only; n if absent")

    @property
    def mean(self) -> float:
        return self.total / (self.exposure or self.n) if self.n else math.nan

    @property
    def variance(self) -> float:
        """Return the unbiased variance of an outcome; continuous only."""
        return max(0.0, (self.squares - self.total**2 / self.n) / (self.n - 1))

    @model_validator(mode="after")
    def enough_squares(self) -> Variant:
        if self.squares and self.squares < self.total**2 / max(1, self.n) * (1 - 1e-9):
            raise ValueError(f"{self.name}: no values have this sum and this sum of squares")
        return self


class Interval(Frozen):
    """Lower and upper bound."""

    low: float
    high: float


def posterior(kind: Kind, variant: Variant) -> Any:
    """Return the posterior of the mean under Jeffreys' prior, as a frozen scipy distribution.

    Binary: Beta; count: Gamma; continuous: Student's t of the mean with unknown variance, whose central
    interval is the classical confidence interval (A. Gelman et al., "Bayesian Data Analysis", 3rd ed., 2.4-3.2).

    Raises:
        ValueError: more successes than observations, negative events, or outcomes without variance.
    """
    if kind == "binary":
        if not 0 <= variant.total <= variant.n:
            raise ValueError(f"variant {variant.name}: {variant.total:g} successes of {variant.n}")
        return scipy.stats.beta(variant.total + 0.5, variant.n - variant.total + 0.5)
    if kind == "count":
        if variant.total < 0:
            raise ValueError(f"variant {variant.name}: {variant.total:g} events")
        return scipy.stats.gamma(variant.total + 0.5, scale=1.0 / (variant.exposure or variant.n))
    if variant.variance == 0.0:
        raise ValueError(f"variant {variant.name}: all outcomes are the same")
    return scipy.stats.t(variant.n - 1, loc=variant.mean, scale=math.sqrt(variant.variance / variant.n))


def superiority(control: Any, treatment: Any) -> float:
    """Return P(treatment > control) of two independent posteriors."""
    return _integral(control, treatment, lambda x: control.pdf(x) * treatment.sf(x))


def expected_loss(control: Any, treatment: Any) -> float:
    """Return E[max(control - treatment, 0)], the integral of P(treatment <= x < control) over x."""
    return _integral(control, treatment, lambda x: treatment.cdf(x) * control.sf(x))


def mean_interval(distribution: Any) -> Interval:
    """Return the central 95 % interval of a posterior."""
    return Interval(low=float(distribution.ppf(0.025)), high=float(distribution.ppf(0.975)))


def difference_interval(control: Any, treatment: Any) -> Interval:
    """Return the central 95 % interval of treatment - control."""
    reach = 20 * (control.std() + treatment.std())
    if not math.isfinite(reach):
        reach = treatment.ppf(0.999) - control.ppf(0.001)
    middle = treatment.mean() - control.mean()

    def below(d: float) -> float:
        return _integral(control, treatment, lambda x: control.pdf(x) * treatment.cdf(x + d), shift=d)

    return _central_95(below, middle - reach, middle + reach)


def lift_interval(control: Any, treatment: Any) -> Interval:
    """Return the central 95 % interval of treatment / control - 1; both must be positive."""

    def below(ratio: float) -> float:
        return _integral(control, treatment, lambda x: control.pdf(x) * treatment.cdf(x * ratio), scale=ratio)

    least = treatment.ppf(1e-6) / control.ppf(1 - 1e-6)
    most = treatment.ppf(1 - 1e-6) / control.ppf(1e-6)
    ratio = _central_95(below, least, most)
    return Interval(low=ratio.low - 1.0, high=ratio.high - 1.0)


def _central_95(distribution: Callable[[float], float], least: float, most: float) -> Interval:
    """Return the 2.5 % and 97.5 % quantiles of a distribution function, searched between the bounds."""
    low, high = (
        float(scipy.optimize.brentq(lambda x, q=q: distribution(x) - q, least, most, xtol=1e-10))
        for q in (0.025, 0.975)
    )
    return Interval(low=low, high=high)


def _integral(
    control: Any, treatment: Any, value: Callable[[Any], Any], shift: float = 0.0, scale: float = 1.0
) -> float:
    """Integrate by Gauss-Legendre between the quantiles of both (treatment moved by `shift`, divided by `scale`).

    The result is precise even if the posteriors have very different widths.
    """
    edges = np.unique(np.concatenate([control.ppf(KNOTS), (treatment.ppf(KNOTS) - shift) / scale]))
    width = np.diff(edges)[:, None] / 2
    points = edges[:-1, None] + width * (NODES + 1)
    return float((value(points) * WEIGHTS * width).sum())
