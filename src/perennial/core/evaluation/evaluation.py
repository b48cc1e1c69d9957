"""Evaluation of a model on later rows: metrics with intervals, gains over its competitors, and slices.

Gains are paired differences over the same resamples of whole groups; a positive gain means that the model is
better, for every metric.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from pydantic import Field

from perennial.core.evaluation.metrics import Estimate, estimates
from perennial.core.frozen import Frozen
from perennial.core.tasks import Scored
from perennial.core.training.registration import NO_CHAMPION

MODEL, CHAMPION = "model", "champion"


class SliceMetrics(Frozen):
    """Metrics of the rows that share a value of a column."""

    column: str
    value: str
    rows: int
    scores: dict[str, dict[str, float]] = Field(description="model, and champion if any -> metric -> value")


class Evaluation(Frozen):
    """Result of an evaluation."""

    digest: str = Field(description="digest of the evaluated model file")
    champion: str = Field(NO_CHAMPION, description="digest of the champion it was compared with")
    rows: int
    groups: int
    first_group: int
    last_group: int
    scores: dict[str, dict[str, Estimate]] = Field(description="model, champion, references -> metric")
    gains: dict[str, dict[str, Estimate]] = Field(
        description="name -> metric -> gain of the model over that name"
    )
    slices: tuple[SliceMetrics, ...] = ()
    worst_slice: float | None = Field(None, description="smallest gain over the champion on any slice")

    def flat(self) -> dict[str, float]:
        """Return the metrics for the run, under the names that the gate reads."""
        flat: dict[str, float] = {"holdout.rows": self.rows, "holdout.groups": self.groups}
        for name, metrics in self.scores.items():
            prefix = {MODEL: "holdout", CHAMPION: CHAMPION}.get(name, f"baseline.{name}")
            flat |= {f"{prefix}.{metric}": figure.value for metric, figure in metrics.items()}
        for prefix, metrics in (("holdout", self.scores[MODEL]), ("delta", self.gains.get(CHAMPION, {}))):
            for metric, figure in metrics.items():
                flat[f"{prefix}.{metric}"] = figure.value
                if figure.is_bounded:
                    flat |= {f"{prefix}.{metric}.low": figure.low, f"{prefix}.{metric}.high": figure.high}
        if self.worst_slice is not None:
            flat["slice.worst_delta"] = self.worst_slice
        return flat


def evaluate_scores(
    digest: str,
    scores: Mapping[str, Scored],
    slices: Mapping[str, np.ndarray],
    metric: str,
    min_rows: int,
    resamples: int,
    seed: int,
) -> Evaluation:
    """Measure every score on the same rows, and the gain of the model over each other score.

    Args:
        scores: `model`, perhaps `champion`, and any references, in the order to show.
        slices: column -> its value per row.
        metric: metric of `worst_slice`.
        min_rows: smaller slices are left out.

    Raises:
        DataError: a metric is undefined on these rows (all have the same target).
    """
    measured, over_model = estimates(scores, MODEL, resamples, seed)
    parts = tuple(_slices(scores, slices, min_rows))
    drops = [
        scores[MODEL].task.gain(metric, part.scores[MODEL][metric], part.scores[CHAMPION][metric])
        for part in parts
        if CHAMPION in part.scores
    ]
    groups = scores[MODEL].groups
    return Evaluation(
        digest=digest,
        rows=len(scores[MODEL]),
        groups=len(groups),
        first_group=int(groups[0]),
        last_group=int(groups[-1]),
        scores=measured,
        gains={name: {m: _reversed(e) for m, e in metrics.items()} for name, metrics in over_model.items()},
        slices=parts,
        worst_slice=min(drops, default=None),
    )


def _slices(
    scores: Mapping[str, Scored], slices: Mapping[str, np.ndarray], min_rows: int
) -> Iterator[SliceMetrics]:
    names = [name for name in (MODEL, CHAMPION) if name in scores]
    model = scores[MODEL]
    for column, values in slices.items():
        for value in np.unique(values.astype(str)):
            rows = values.astype(str) == value
            if rows.sum() < min_rows or len(np.unique(model.target[rows])) < 2:
                continue
            part = {name: _defined(scores[name].where(rows).measure()) for name in names}
            yield SliceMetrics(column=column, value=str(value), rows=int(rows.sum()), scores=part)


def _defined(measured: Mapping[str, float]) -> dict[str, float]:
    return {metric: value for metric, value in measured.items() if not np.isnan(value)}


def _reversed(estimate: Estimate) -> Estimate:
    """Return the gain of the model over another score from the gain of that score over the model."""
    return Estimate(value=-estimate.value, low=-estimate.high, high=-estimate.low)


def table(evaluation: Evaluation) -> list[Sequence[str]]:
    """Return rows of text: a header, then a row per score with every metric."""
    metrics = tuple(evaluation.scores[MODEL])
    return [
        ("", *metrics),
        *((name, *(str(row.get(m, "-")) for m in metrics)) for name, row in evaluation.scores.items()),
    ]
