"""Two versions on the same later rows: their figures, the paired difference, and where they disagree most."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field

from perennial.core.evaluation.evaluation import Figure
from perennial.core.evaluation.metrics import Estimate, Scored, estimates
from perennial.core.spec import Frozen


class RowDisagreement(Frozen):
    """One row that the two versions see differently."""

    row: dict[str, Any] = Field(description="entity, request values and group")
    target: float
    old: float = Field(description="score of the first version")
    new: float = Field(description="score of the second version")


class VersionComparison(Frozen):
    """What comparing two versions found."""

    old: str
    new: str
    rows: int
    groups: int
    first_group: int
    last_group: int
    scores: dict[str, dict[str, Figure]] = Field(description="old, new -> metric -> figure")
    gains: dict[str, Figure] = Field(
        description="metric -> new over old with the interval of the paired difference; positive is better"
    )
    decisions_changed: int = Field(description="rows whose answer differs at the threshold")
    disagreements: tuple[RowDisagreement, ...] = Field(description="largest difference of scores first")


def compare(
    names: tuple[str, str],
    scores: tuple[Scored, Scored],
    rows: list[dict[str, Any]],
    threshold: float,
    examples: int,
    resamples: int,
    seed: int,
) -> VersionComparison:
    """Measure both over the same resamples of whole groups (the cluster bootstrap of `core.evaluation.metrics`).

    Args:
        names: of the first and the second version, for people.
        scores: of the same rows in the same order.
        rows: [n] what names each row.
        examples: how many disagreements to keep.

    Raises:
        DataError: a metric is not defined on these rows (one verdict only).
    """
    old, new = scores
    measured, gains = estimates({"old": old, "new": new}, "old", resamples, seed)
    apart = np.abs(new.score - old.score)
    chosen = [place for place in np.argsort(-apart, kind="stable")[:examples] if apart[place] > 0]
    return VersionComparison(
        old=names[0],
        new=names[1],
        rows=len(old),
        groups=len(old.groups),
        first_group=int(old.groups[0]),
        last_group=int(old.groups[-1]),
        scores={name: {m: _figure(e) for m, e in metrics.items()} for name, metrics in measured.items()},
        gains={metric: _figure(estimate) for metric, estimate in gains["new"].items()},
        decisions_changed=int(((new.score >= threshold) != (old.score >= threshold)).sum()),
        disagreements=tuple(
            RowDisagreement(
                row=rows[place],
                target=float(old.target[place]),
                old=float(old.score[place]),
                new=float(new.score[place]),
            )
            for place in chosen
        ),
    )


def _figure(estimate: Estimate) -> Figure:
    return Figure(value=estimate.value, low=estimate.low, high=estimate.high)
