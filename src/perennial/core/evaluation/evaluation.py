"""One model judged on later rows, beside what it must beat: figures with intervals, apart by slice.

`gain` figures are paired differences over the same resamples of whole groups, positive where the model is
better, for every metric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field

from perennial.core.evaluation.metrics import METRICS, Estimate, Scored, estimates, gain
from perennial.core.spec import Frozen
from perennial.core.training.registration import NO_CHAMPION

MODEL, CHAMPION = "model", "champion"


class Figure(Frozen):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


class SliceMetrics(Frozen):
    """The rows that share one value of a column."""

    column: str
    value: str
    rows: int
    scores: dict[str, dict[str, float]] = Field(description="model, and champion if any -> metric -> value")


class Evaluation(Frozen):
    """What one evaluation found."""

    digest: str = Field(description="of the judged model file")
    champion: str = Field(NO_CHAMPION, description="digest of the model that `champion` stands for")
    rows: int
    groups: int
    first_group: int
    last_group: int
    scores: dict[str, dict[str, Figure]] = Field(description="model, champion, references -> metric")
    gains: dict[str, dict[str, Figure]] = Field(description="name -> metric -> the model over that name")
    slices: tuple[SliceMetrics, ...] = ()
    worst_slice: float | None = Field(None, description="smallest gain over the champion on any slice")

    def flat(self) -> dict[str, float]:
        """For the run's metrics, by the names that the gate reads."""
        found: dict[str, float] = {"holdout.rows": self.rows, "holdout.groups": self.groups}
        for name, metrics in self.scores.items():
            prefix = {MODEL: "holdout", CHAMPION: CHAMPION}.get(name, f"baseline.{name}")
            found |= {f"{prefix}.{metric}": figure.value for metric, figure in metrics.items()}
        for prefix, metrics in (("holdout", self.scores[MODEL]), ("delta", self.gains.get(CHAMPION, {}))):
            for metric, figure in metrics.items():
                found[f"{prefix}.{metric}"] = figure.value
                found[f"{prefix}.{metric}.low"] = figure.low
                found[f"{prefix}.{metric}.high"] = figure.high
        if self.worst_slice is not None:
            found["slice.worst_delta"] = self.worst_slice
        return found


def evaluate_scores(
    digest: str,
    scores: Mapping[str, Scored],
    slices: Mapping[str, np.ndarray],
    metric: str,
    min_rows: int,
    resamples: int,
    seed: int,
) -> Evaluation:
    """Measure every score over the same rows and the model's gain over each other one.

    Args:
        scores: `model`, perhaps `champion`, and any references, in the order to show.
        slices: column -> its value per row.
        metric: the one whose drop on a slice matters.
        min_rows: a smaller slice says nothing and is left out.

    Raises:
        DataError: a metric is not defined on these rows (one verdict only).
    """
    measured, over_model = estimates(scores, MODEL, resamples, seed)
    found = tuple(_slices(scores, slices, min_rows))
    drops = [
        gain(metric, one.scores[MODEL][metric], one.scores[CHAMPION][metric])
        for one in found
        if CHAMPION in one.scores
    ]
    groups = scores[MODEL].groups
    return Evaluation(
        digest=digest,
        rows=len(scores[MODEL]),
        groups=len(groups),
        first_group=int(groups[0]),
        last_group=int(groups[-1]),
        scores={name: {m: _figure(e) for m, e in metrics.items()} for name, metrics in measured.items()},
        gains={name: {m: _turned(e) for m, e in metrics.items()} for name, metrics in over_model.items()},
        slices=found,
        worst_slice=min(drops, default=None),
    )


def _slices(scores: Mapping[str, Scored], slices: Mapping[str, np.ndarray], min_rows: int):
    names = [name for name in (MODEL, CHAMPION) if name in scores]
    model = scores[MODEL]
    for column, values in slices.items():
        for value in np.unique(values.astype(str)):
            rows = values.astype(str) == value
            if rows.sum() < min_rows or len(np.unique(model.target[rows])) < 2:
                continue
            part = {name: scores[name].where(rows).measure() for name in names}
            yield SliceMetrics(column=column, value=str(value), rows=int(rows.sum()), scores=part)


def _figure(estimate: Estimate) -> Figure:
    return Figure(value=estimate.value, low=estimate.low, high=estimate.high)


def _turned(estimate: Estimate) -> Figure:
    """The gain of another over the model -> the gain of the model over it."""
    return Figure(value=-estimate.value, low=-estimate.high, high=-estimate.low)


def table(evaluation: Evaluation) -> list[Sequence[str]]:
    """Rows of text: a header, then one row per score with every metric."""
    header = ("", *METRICS)
    return [header, *((name, *(str(row[m]) for m in METRICS)) for name, row in evaluation.scores.items())]
