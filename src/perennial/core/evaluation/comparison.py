"""Comparison of two versions on the same later rows: metrics, paired gains, largest disagreements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from perennial.core.evaluation.metrics import Estimate, estimates
from perennial.core.frozen import Frozen
from perennial.core.tasks import Scored


class RowDisagreement(Frozen):
    """Row with different scores of the two versions."""

    row: dict[str, Any] = Field(description="entity, request values and group")
    target: float
    old: float = Field(description="score of the first version")
    new: float = Field(description="score of the second version")


class VersionComparison(Frozen):
    """Result of comparing two versions."""

    old: str
    new: str
    rows: int
    groups: int
    first_group: int
    last_group: int
    scores: dict[str, dict[str, Estimate]] = Field(description="old, new -> metric -> estimate")
    gains: dict[str, Estimate] = Field(
        description="metric -> gain of new over old with the interval of the paired difference; positive is better"
    )
    decisions_changed: int = Field(description="rows whose answers differ for the caller (`Task.differs`)")
    disagreements: tuple[RowDisagreement, ...] = Field(description="largest difference of scores first")


def compare(
    names: tuple[str, str],
    scores: tuple[Scored, Scored],
    rows: Sequence[Mapping[Any, Any]],
    examples: int,
    resamples: int,
    seed: int,
) -> VersionComparison:
    """Compare two versions over the same resamples of whole groups (see `core.evaluation.metrics`).

    Args:
        names: display names of the first and the second version.
        scores: scores of the same rows in the same order.
        rows: [n] columns that identify each row.
        examples: number of disagreements to keep.

    Raises:
        DataError: a metric is undefined on these rows (all have the same target).
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
        scores=measured,
        gains=gains["new"],
        decisions_changed=int(changed_rows(old, new).sum()),
        disagreements=tuple(
            RowDisagreement(
                row=dict(rows[place]),
                target=float(old.target[place]),
                old=float(old.score[place]),
                new=float(new.score[place]),
            )
            for place in chosen
        ),
    )


def changed_rows(old: Scored, new: Scored) -> np.ndarray:
    """Return whether two answers to the same row differ for the caller, bool [n]."""
    decisions = (scored.task.decisions(scored.answer) for scored in (old, new))
    return new.task.differs(old.score, next(decisions), new.score, next(decisions))
