"""Posterior distributions of variants, and the figures derived from them.

All figures are integrals, computed by quadrature: no random draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy  # loads its parts, here those of a second, when they are first used
from numpy.typing import NDArray
from pydantic import Field

from perennial.core.experiment.design import Kind
from perennial.core.frozen import Frozen

Floats = NDArray[np.float64]
KNOTS = np.array([1e-12, 1e-9, 1e-6, 1e-4, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999, 1 - 1e-6, 1 - 1e-9])
NODES, WEIGHTS = np.polynomial.legendre.leggauss(24)


class Variant(Frozen):
    """Observations of a variant, as sufficient statistics."""

    name: str
    n: int = Field(
        ge=0, description="number of observations; for counts, `exposure` has the units of exposure"
    )
    total: float = Field(description="sum of the outcomes: successes, rewards or events")
    exposure: float | None = Field(None, gt=0, description="count only; n if absent")
    spread: float | None = Field(
        None, ge=0, description="sum of the squared deviations from the mean; not needed for binary outcomes"
    )
    largest: float | None = Field(None, ge=0, description="the largest of these squared deviations")

    @classmethod
    def of(cls, name: str, outcomes: Floats, exposures: Floats | None = None) -> Variant:
        """Sum up the outcomes.

        Args:
            outcomes: float [n], an outcome of each observation.
            exposures: float [n], units of exposure of each; None: one each. An outcome deviates from the events that
                are expected for its exposure (the variance of a ratio: W. G. Cochran, "Sampling Techniques", 1977).
        """
        total, n = float(outcomes.sum()), len(outcomes)
        units = np.ones(n) if exposures is None else exposures
        squared = (outcomes - units * (total / float(units.sum()))) ** 2 if n else np.zeros(0)
        return cls(
            name=name, n=n, total=total, exposure=float(units.sum()) if exposures is not None and n else None,
            spread=float(squared.sum()), largest=float(squared.max(initial=0.0)),
        )  # fmt: skip

    @property
    def mean(self) -> float:
        return self.total / (self.exposure or self.n) if self.n else math.nan

    @property
    def variance(self) -> float:
        """Return the unbiased variance of an outcome; continuous only."""
        return self.deviations("continuous")[0] / (self.n - 1)

    def deviations(self, kind: Kind) -> tuple[float, float]:
        """Return the sum of the squared deviations of the outcomes from their mean, and the largest of them.

        For successes and events, the largest is at least that of the next one: without any, nothing is known.

        Raises:
            ValueError: the outcomes are not binary, and their deviations are not known.
        """
        if kind == "binary":
            rarer = max(self.mean, 1.0 - self.mean)
            return self.n * self.mean * (1.0 - self.mean), rarer**2
        if self.spread is None or self.largest is None:
            raise ValueError(f"variant {self.name}: the deviations of its outcomes are not known")
        return self.spread, max(self.largest, 1.0) if kind == "count" else self.largest


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
