"""Figures of a model card: metrics of all rows and of slices, and feature attributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field

from perennial.core.evaluation.evaluation import MODEL, Evaluation
from perennial.core.frozen import Frozen
from perennial.core.governance.document import Picture, Section, Table
from perennial.core.training.attribution import GlobalAttributions
from perennial.core.training.registration import VersionRecord

PICTURES = {
    "roc.png": "ROC curve on the evaluation data",
    "precision_recall.png": "Precision and recall on the evaluation data",
    "calibration.png": "Calibration on the evaluation data",
    "confusion.png": "Confusion matrix on the evaluation data",
    "predicted.png": "Predicted and actual values on the evaluation data",
    "residuals.png": "Residuals on the evaluation data",
    "error_by_step.png": "Error by step ahead on the evaluation data, beside the naive forecasts",
    "coverage_by_step.png": "Coverage by step ahead on the evaluation data",
}
ATTRIBUTIONS_PICTURE = "attributions.png"
MOST_CLASSES = 10
"""Most classes whose attributions are shown apart; `attributions.json` has them all."""
SHOWN = {"holdout": "this version", MODEL: "this version"}


class CardEvidence(Frozen):
    """Evaluation results that the run of the version keeps."""

    evaluation: Evaluation | None = None
    attributions: GlobalAttributions | None = None
    pictures: frozenset[str] = Field(frozenset(), description="names of the existing picture files")


def quantitative(record: VersionRecord, kept: CardEvidence, known: Sequence[str]) -> Section:
    """Return the section of metrics: the version, the champion, the baselines and the slices.

    Args:
        known: metrics of the kind of task; those that were measured are shown.
    """
    metrics = record.metrics
    names = tuple(name for name in known if f"holdout.{name}" in metrics) or tuple(known)
    who = [
        "holdout",
        "champion",
        *sorted({name.rsplit(".", 1)[0] for name in metrics if name[:9] == "baseline."}),
    ]
    rows = [
        (
            _shown(source),
            *(_estimate(metrics, f"{source}.{metric}") for metric in names),
        )
        for source in who
        if any(f"{source}.{metric}" in metrics for metric in names)
    ]
    if any(f"delta.{metric}" in metrics for metric in names):
        gains = tuple(_estimate(metrics, f"delta.{metric}") for metric in names)
        rows.append(("gain over the champion", *gains))
    return Section(
        title="Quantitative analyses",
        tables=(Table(header=("", *names), rows=tuple(rows)), *_slices(kept.evaluation, names)),
        pictures=tuple(
            Picture(file=name, shows=shows) for name, shows in PICTURES.items() if name in kept.pictures
        ),
    )


def _shown(name: str) -> str:
    baseline = name.removeprefix("baseline.")
    return SHOWN.get(name, name) if baseline == name else f"{baseline} (reference)"


def _slices(evaluation: Evaluation | None, names: Sequence[str]) -> tuple[Table, ...]:
    """Return one table per column: metrics of each value, beside the champion's if there was one."""
    slices = () if evaluation is None else evaluation.slices
    return tuple(
        Table(
            header=(column, "rows", "", *names),
            rows=tuple(
                (
                    part.value,
                    str(part.rows),
                    SHOWN.get(who, who),
                    *(f"{figures[name]:.4f}" if name in figures else "-" for name in names),
                )
                for part in slices
                if part.column == column
                for who, figures in part.scores.items()
            ),
        )
        for column in dict.fromkeys(part.column for part in slices)
    )


def attributions(evidence: CardEvidence, explained: str) -> Section:
    """Return the section of feature attributions. This section is not in Mitchell et al.

    Args:
        explained: name of the number that an explanation is of.
    """
    moved = evidence.attributions
    if moved is None:
        return Section(title="Explanation")
    if moved.base is not None:
        what, start = f"the {explained}", f"{moved.base:.4f}, the mean {explained}"
    else:
        bases = ", ".join(f"{part.name} {part.base:.4f}" for part in moved.classes)
        what, start = f"the {explained} of a class", f"its mean ({bases})"
    shown = moved.classes if len(moved.classes) <= MOST_CLASSES else ()
    return Section(
        title="Explanation",
        text=(
            f"Mean absolute Shapley value of each feature over {moved.rows} rows of the evaluation data: by how "
            f"much knowing it moves {what}, on average, from {start} of "
            f"{moved.background_rows} usual rows. Attributions and this mean add up to {what} within "
            f"{max(moved.gap, 1e-9):.0e}. They say what the model used, not what causes the outcome; of features "
            "that say the same, each gets a part.",
        ),
        tables=(
            Table(
                header=("feature", "mean absolute attribution", *(part.name for part in shown)),
                rows=tuple(
                    (name, f"{mean:.4f}", *(f"{part.mean_absolute[place]:.4f}" for part in shown))
                    for place, (name, mean) in enumerate(moved.mean_absolute)
                ),
            ),
        ),
        pictures=(Picture(file=ATTRIBUTIONS_PICTURE, shows="Mean absolute attribution of each feature"),)
        if ATTRIBUTIONS_PICTURE in evidence.pictures
        else (),
    )


def _estimate(metrics: Mapping[str, float], name: str) -> str:
    if name not in metrics:
        return "-"
    low, high = metrics.get(f"{name}.low"), metrics.get(f"{name}.high")
    return f"{metrics[name]:.4f}" + ("" if low is None else f" [{low:.4f}, {high:.4f}]")
