"""Figures of a variant beside its parent, and the rules of the gate about them.

A variant must be shown not to be inferior: the bound of an interval is compared with the spec, so too few rows pass
nothing.
"""

from __future__ import annotations

import math

import numpy as np
import scipy  # loads its parts, here those of a second, when they are first used
from pydantic import Field

from perennial.core.evaluation.comparison import changed_rows
from perennial.core.evaluation.metrics import INTERVAL, Estimate, resample_groups
from perennial.core.frozen import Frozen
from perennial.core.gate_spec import GateSpec
from perennial.core.tasks import Scored
from perennial.core.training.registration import VersionRecord
from perennial.core.verdict import Judgement, Verdict

AGREEMENT, GAIN = "variant.agreement", "variant.gain"
"""Metrics of the run; `.low` and `.high` are the bounds of the 95 % interval."""


class VariantFigures(Frozen):
    """Figures of a variant against its parent."""

    agreement: Estimate = Field(description="share of the rows on which both answer alike for the caller")
    gain: Estimate = Field(description="gain of the gate's metric over the parent; positive is better")
    latency: dict[int, Estimate] = Field(
        description="rows of a request -> median time of the variant divided by that of the parent"
    )
    milliseconds: dict[int, float] = Field(description="rows of a request -> median time of the variant")
    bytes: int = Field(description="size of its model file")
    parent_bytes: int

    @property
    def is_faster(self) -> bool:
        """Return whether it is proven faster for some size of request, and for none proven slower."""
        ratios = self.latency.values()
        return any(ratio.high < 1 for ratio in ratios) and all(ratio.low <= 1 for ratio in ratios)

    @property
    def mean_ratio(self) -> float:
        """Return the geometric mean of the ratios, by which the fastest is chosen."""
        return math.exp(sum(math.log(ratio.value) for ratio in self.latency.values()) / len(self.latency))

    def flat(self) -> dict[str, float]:
        """Return the metrics for the run."""
        named = {AGREEMENT: self.agreement, GAIN: self.gain}
        named |= {f"variant.latency_ratio.{rows}": ratio for rows, ratio in self.latency.items()}
        flat = {"variant.bytes_ratio": self.bytes / self.parent_bytes}
        for name, estimate in named.items():
            flat |= {name: estimate.value, f"{name}.low": estimate.low, f"{name}.high": estimate.high}
        return flat


def agreement(parent: Scored, variant: Scored, resamples: int, seed: int) -> Estimate:
    """Return the share of the rows on which both answer alike.

    The interval is the wider one of two: of whole groups resampled, since rows of a group are correlated, and the
    exact one of a proportion (C. Clopper, E. Pearson, Biometrika 1934), since a bootstrap without a single
    disagreement has no width, however few the rows.
    """
    same = ~changed_rows(parent, variant)
    _, group = np.unique(parent.group, return_inverse=True)
    alike, rows = np.bincount(group, same), np.bincount(group)
    weights = resample_groups(len(rows), resamples, np.random.default_rng(seed))
    low, high = np.quantile((weights @ alike) / (weights @ rows), INTERVAL)
    exact = scipy.stats.binomtest(int(same.sum()), len(same)).proportion_ci(0.95, method="exact")
    return Estimate(
        value=float(same.mean()), low=min(float(low), exact.low), high=max(float(high), exact.high)
    )


def latency_ratio(parent: np.ndarray, variant: np.ndarray, resamples: int, seed: int) -> Estimate:
    """Return the median of the variant divided by that of the parent; rounds are resampled in pairs.

    Args:
        parent: [rounds] seconds of a call, measured in the same rounds as `variant`.
    """
    picks = np.random.default_rng(seed).integers(len(parent), size=(resamples, len(parent)))
    ratios = np.median(variant[picks], axis=1) / np.median(parent[picks], axis=1)
    low, high = np.quantile(ratios, INTERVAL)
    return Estimate(value=float(np.median(variant) / np.median(parent)), low=float(low), high=float(high))


def judge_variant(spec: GateSpec, record: VersionRecord) -> list[Judgement]:
    """Judge whether a variant is not inferior to its parent.

    An answer or a loss that the interval leaves open is FAIL: there is a version that is known to be good.
    """
    policy = spec.variants
    if policy is None:
        needed = "gate.variants in the spec"
        missing = "the spec says nothing about variants"
        return [Judgement(rule="agreement", verdict=Verdict.ERROR, observed=missing, needed=needed)]
    metric = spec.improvement.metric
    return [
        _at_least(record, "agreement", AGREEMENT, policy.agreement, "answers like the parent's"),
        _at_least(record, "quality", GAIN, -policy.quality_drop, f"{metric} gain over the parent"),
    ]


def _at_least(record: VersionRecord, rule: str, name: str, least: float, what: str) -> Judgement:
    needed = f"{what}: lower bound >= {least:g}"
    known = [record.metrics.get(metric) for metric in (name, f"{name}.low", f"{name}.high")]
    value, low, high = known
    if value is None or low is None or high is None:
        observed = f"the version has no metric {name}"
        return Judgement(rule=rule, verdict=Verdict.ERROR, observed=observed, needed=needed)
    verdict = Verdict.PASS if low >= least else Verdict.FAIL
    return Judgement(
        rule=rule, verdict=verdict, observed=f"{value:.4f} [{low:.4f}, {high:.4f}]", needed=needed
    )
