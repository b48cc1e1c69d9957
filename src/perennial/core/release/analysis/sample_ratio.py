"""Test of the sample ratio: did the variants of a split get the shares of users that were planned?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from pydantic import Field
from scipy.special import chdtrc, gammaln

from perennial.core.frozen import Frozen
from perennial.core.release.traffic import UserCounts
from perennial.core.verdict import Judgement, Verdict

RULE = "sample_ratio"


class SampleRatio(Frozen):
    """Result of the test for a sample ratio mismatch."""

    observed: tuple[int, ...]
    expected: tuple[float, ...] = Field(description="shares that sum to 1")
    p_value: float = Field(description="Pearson's chi-square, for one look at the end")
    sequential_p: float = Field(description="valid at every look")
    alarm: bool


def sample_ratio(observed: Sequence[int], expected: Sequence[float], alpha: float) -> SampleRatio:
    """Test whether the variants got their planned shares. After a mismatch no comparison of them can be trusted.

    The alarm goes by the sequential p-value, so that one may look at any time: the inverse of the
    Dirichlet-multinomial Bayes factor against the expected shares, a martingale under them, exceeds 1/alpha
    ever with a chance of at most alpha (M. Lindon, A. Malek, "Anytime-valid inference for multinomial count
    data", NeurIPS 2022).
    """
    counts, share = np.asarray(observed, float), np.asarray(expected, float) / sum(expected)
    total = counts.sum()
    if total == 0:
        return SampleRatio(
            observed=tuple(observed), expected=tuple(share.tolist()), p_value=1, sequential_p=1, alarm=False
        )
    statistic = float((((counts - total * share) ** 2) / (total * share)).sum())
    prior = CONCENTRATION * share
    log_factor = (
        gammaln(prior.sum())
        - gammaln(prior.sum() + total)
        + (gammaln(prior + counts) - gammaln(prior)).sum()
        - (counts * np.log(share)).sum()
    )
    sequential = min(1.0, math.exp(min(0.0, -float(log_factor))))
    return SampleRatio(
        observed=tuple(observed),
        expected=tuple(share.tolist()),
        p_value=float(chdtrc(len(counts) - 1, statistic)),
        sequential_p=sequential,
        alarm=sequential <= alpha,
    )


def judge_split(units: UserCounts, control: str, treatment: str, weight: float, alpha: float) -> Judgement:
    """Judge whether users were assigned as planned, with a false alarm's chance of `alpha` over all looks.

    A proven mismatch is UNSURE, and a person is asked at once. It is no FAIL: nothing is proven against the
    candidate, the measurement is broken. It is no ERROR either: errors are waited out and then end a release,
    while a mismatch once proven does not heal, and its cause (a proxy that caches, a server that loses its
    log) is best searched while the split stands. The other rules go on and may still abort.
    """
    counted = tuple(units.by_variant.get(version, 0) for version in (control, treatment))
    ratio = sample_ratio(counted, (100.0 - weight, weight), alpha)
    crossed = f", {units.crossed} on both sides" if units.crossed else ""
    return Judgement(
        rule=RULE,
        verdict=Verdict.UNSURE if ratio.alarm else Verdict.PASS,
        observed=f"{counted[1]} of {sum(counted)} users to the candidate{crossed}; p {ratio.sequential_p:.2g}",
        needed=f"{weight:g} % of them, not refuted at p {alpha:g} at any look",
    )


CONCENTRATION = 100.0
"""Concentration of the Dirichlet mixture over assignment shares; larger values detect smaller deviations."""
