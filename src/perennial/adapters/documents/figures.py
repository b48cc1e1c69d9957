"""The Figures port over Matplotlib (pictures) and TensorBoard (event files)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from perennial.core.governance.card_figures import MOST_CLASSES
from perennial.core.tasks import Scored
from perennial.core.tasks.curve import pr_auc, roc_auc
from perennial.core.tasks.forecast import MeasuredForecasts
from perennial.core.tasks.multiclass import ClassProbabilities
from perennial.core.tasks.ranked_scores import CurvedScores
from perennial.core.tasks.regression import MeasuredValues

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from perennial.core.training.attribution import GlobalAttributions

WRITTEN_CLASSES = 15
"""Most classes for which the confusion matrix shows its counts."""
BINS = 10
"""Bins of the calibration picture, with equal numbers of rows."""


class TrainingFigures:
    """Figures drawn without a display and without pyplot's global state."""

    def evaluation(self, folder: Path, title: str, scores: Mapping[str, Scored]) -> list[Path]:
        from matplotlib.figure import Figure

        folder.mkdir(parents=True, exist_ok=True)
        pictures: dict[str, Callable[[Axes], None]] = {}
        curved = {name: scored for name, scored in scores.items() if isinstance(scored, CurvedScores)}
        if curved:
            pictures |= {
                "roc.png": partial(_roc, scores=curved),
                "precision_recall.png": partial(_precision_recall, scores=curved),
                "calibration.png": partial(_calibration, scores=curved),
            }
        model = next(iter(scores.values()))
        if isinstance(model, ClassProbabilities):
            pictures["confusion.png"] = partial(_confusion, model=model)
        if isinstance(model, MeasuredValues):
            pictures["predicted.png"] = partial(_predicted, model=model)
            pictures["residuals.png"] = partial(_residuals, model=model)
        if forecasts := {
            name: figures for name, figures in scores.items() if isinstance(figures, MeasuredForecasts)
        }:
            pictures["error_by_step.png"] = partial(_error_by_step, scores=forecasts)
            pictures["coverage_by_step.png"] = partial(_coverage_by_step, scores=forecasts)
        for name, draw in pictures.items():
            figure = Figure(figsize=(6, 5), dpi=120, layout="constrained")
            axes = figure.subplots()
            draw(axes)
            axes.set_title(f"{axes.get_title()}\n{title}", fontsize=10)
            if axes.get_legend_handles_labels()[0]:
                axes.grid(alpha=0.3)
                axes.legend(fontsize=8)
            figure.savefig(folder / name, metadata={"Software": None})
        return [folder / name for name in pictures]

    def attributions(self, folder: Path, title: str, attributions: GlobalAttributions) -> Path:
        from matplotlib.figure import Figure

        folder.mkdir(parents=True, exist_ok=True)
        names, means = zip(*attributions.mean_absolute, strict=True)
        figure = Figure(figsize=(6, 1.6 + 0.28 * len(names)), dpi=120, layout="constrained")
        axes = figure.subplots()
        if 0 < len(attributions.classes) <= MOST_CLASSES:
            left = np.zeros(len(names))
            for part in attributions.classes:  # together the mean over the classes
                widths = np.array(part.mean_absolute) / len(attributions.classes)
                bars = axes.barh(names, widths, left=left, label=part.name)
                left += widths
            axes.legend(fontsize=8, title="class")
        else:
            bars = axes.barh(names, means, color="tab:blue")
        axes.bar_label(bars, [f"{mean:.4f}" for mean in means], padding=3, fontsize=8)
        axes.invert_yaxis()
        axes.margins(x=0.15)
        axes.set_title(f"Mean absolute Shapley value over {attributions.rows} rows\n{title}", fontsize=10)
        changed = (
            "the probabilities"
            if attributions.base is None
            else f"the answer (its mean is {attributions.base:.3f})"
        )
        axes.set_xlabel(f"mean absolute change of {changed}")
        axes.grid(axis="x", alpha=0.3)
        figure.savefig(folder / "attributions.png", metadata={"Software": None})
        return folder / "attributions.png"

    def events(self, folder: Path, points: Sequence[Mapping[str, float]]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        writer = EventFileWriter(str(folder))
        for epoch, metrics in enumerate(points):
            values = [Summary.Value(tag=name, simple_value=value) for name, value in metrics.items()]
            writer.add_event(Event(wall_time=time.time(), step=epoch, summary=Summary(value=values)))
        writer.close()


def calibration_points(scored: CurvedScores, bins: int = BINS) -> tuple[np.ndarray, np.ndarray]:
    """Return mean score and share of positives in `bins` bins of equal size, ordered by score."""
    parts = np.array_split(np.argsort(scored.score, kind="stable"), bins)
    filled = [part for part in parts if len(part)]
    means = [(scored.score[part].mean(), scored.target[part].mean()) for part in filled]
    return tuple(np.array(means).T)


def _roc(axes: Axes, scores: Mapping[str, CurvedScores]) -> None:
    axes.set(xlim=(0, 1), ylim=(0, 1.01))
    for name, scored in scores.items():
        curve = scored.curve()
        axes.plot(*curve.roc, label=f"{name} ({roc_auc(curve):.3f})")
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":", label="chance (0.500)")
    axes.set(
        title="ROC curve (area in brackets)",
        xlabel="false positive rate (share of passing tests)",
        ylabel="true positive rate (share of failing tests)",
    )


def _precision_recall(axes: Axes, scores: Mapping[str, CurvedScores]) -> None:
    axes.set(xlim=(0, 1), ylim=(0, 1.01))
    for name, scored in scores.items():
        curve = scored.curve()
        axes.step(*curve.precision_recall, where="post", label=f"{name} ({pr_auc(curve):.3f})")
    base = next(iter(scores.values())).target.mean()
    axes.axhline(base, color="grey", linestyle=":", label=f"chance ({base:.3f})")
    axes.set(
        title="Precision and recall (average precision in brackets)",
        xlabel="recall (share of failing tests that were predicted)",
        ylabel="precision (share of alarms that fail)",
    )


def _calibration(axes: Axes, scores: Mapping[str, CurvedScores]) -> None:
    axes.set(xlim=(0, 1), ylim=(0, 1.01))
    for name, scored in scores.items():
        axes.plot(*calibration_points(scored), marker="o", markersize=4, label=name)
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":", label="perfect")
    axes.set(
        title=f"Calibration ({BINS} parts of equally many rows)",
        xlabel="mean score (predicted chance of failure)",
        ylabel="share that failed",
    )


def _confusion(axes: Axes, model: ClassProbabilities) -> None:
    """Draw the counts of the model by class and decision, coloured by the share of the class."""
    matrix, names = model.confusion(), [str(label) for label in model.task.classes]
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    places = range(len(names))
    axes.set_xticks(places, names, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(places, names, fontsize=8)
    if len(names) <= WRITTEN_CLASSES:
        for row, column in np.ndindex(matrix.shape):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{matrix[row, column]:.0f}", ha="center", va="center", color=colour)
    axes.set(title="Confusion matrix of the model", xlabel="answer", ylabel="class")


def _predicted(axes: Axes, model: MeasuredValues) -> None:
    both = np.concatenate([model.target, model.answer])
    ends = [both.min(), both.max()]
    axes.scatter(model.target, model.answer, s=6, alpha=0.4, label="rows")
    axes.plot(ends, ends, color="grey", linestyle=":", label="perfect")
    unit = model.task.unit
    if (half := model.task.half_width) is not None:
        share = model.measure()["coverage"]
        band = f"{model.task.interval:.0%} interval: holds {share:.1%} of the rows"
        low, high = ends[0] - half, ends[1] + half
        axes.fill_between([low, high], [low - half, high - half], [low + half, high + half], color="tab:blue",
                          alpha=0.12, label=band)  # fmt: skip
    axes.set(title="Predicted and actual values", xlabel=f"actual [{unit}]", ylabel=f"predicted [{unit}]")


def _residuals(axes: Axes, model: MeasuredValues) -> None:
    unit, within, half = model.task.unit, model.task.tolerance, model.task.half_width
    axes.scatter(model.answer, model.target - model.answer, s=6, alpha=0.4, label="rows")
    if within is not None:
        axes.axhspan(-within, within, color="tab:green", alpha=0.15, label="tolerance")
    if half is not None:
        axes.axhspan(-half, half, color="tab:blue", alpha=0.12, label=f"{model.task.interval:.0%} interval")
    axes.axhline(0, color="grey", linestyle=":")
    axes.set(title="Residuals", xlabel=f"predicted [{unit}]", ylabel=f"actual minus predicted [{unit}]")


def _error_by_step(axes: Axes, scores: Mapping[str, MeasuredForecasts]) -> None:
    _by_step(axes, scores, "mase")
    axes.set(title="Error by step ahead", ylabel="mean absolute scaled error")
    axes.set_ylim(bottom=0)


def _coverage_by_step(axes: Axes, scores: Mapping[str, MeasuredForecasts]) -> None:
    _by_step(axes, scores, "coverage")
    task = next(iter(scores.values())).task
    axes.axhline(task.interval, color="grey", linestyle=":", label=f"claimed ({task.interval:.0%})")
    axes.set(
        title="Coverage of the outermost quantiles by step ahead",
        ylabel="share of values inside",
        ylim=(0, 1),
    )


def _by_step(axes: Axes, scores: Mapping[str, MeasuredForecasts], metric: str) -> None:
    for name, scored in scores.items():
        measured, steps = scored.measure(), range(1, scored.task.horizon + 1)
        axes.plot(
            steps, [measured[f"{metric}_{step}"] for step in steps], marker="o", markersize=4, label=name
        )
    axes.set_xlabel(f"step ahead [{next(iter(scores.values())).task.frequency.value}s]")
