"""The figures of a model card: what was measured, apart by slice, and what moves the score."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from perennial.core.evaluation.evaluation import MODEL, Evaluation
from perennial.core.evaluation.metrics import METRICS
from perennial.core.frozen import Frozen
from perennial.core.governance.document import Picture, Section, Table
from perennial.core.training.attribution import GlobalAttributions
from perennial.core.training.registration import VersionRecord

PICTURES = {
    "roc.png": "ROC curve on the evaluation data",
    "precision_recall.png": "Precision and recall on the evaluation data",
    "calibration.png": "Calibration on the evaluation data",
}
ATTRIBUTIONS_PICTURE = "attributions.png"
SHOWN = {"holdout": "this version", MODEL: "this version"}


class Found(Frozen):
    """What the run of the version keeps of its evaluation."""

    evaluation: Evaluation | None = None
    attributions: GlobalAttributions | None = None
    pictures: frozenset[str] = Field(frozenset(), description="names of the picture files that there are")


def quantitative(record: VersionRecord, kept: Found) -> Section:
    found = record.metrics
    who = [
        "holdout",
        "champion",
        *sorted({name.rsplit(".", 1)[0] for name in found if name[:9] == "baseline."}),
    ]
    rows = [
        (
            _shown(one),
            *(_estimate(found, f"{one}.{metric}") for metric in METRICS),
        )
        for one in who
        if any(f"{one}.{metric}" in found for metric in METRICS)
    ]
    if any(f"delta.{metric}" in found for metric in METRICS):
        gains = tuple(_estimate(found, f"delta.{metric}") for metric in METRICS)
        rows.append(("gain over the champion", *gains))
    return Section(
        title="Quantitative analyses",
        tables=(Table(header=("", *METRICS), rows=tuple(rows)), *_slices(kept.evaluation)),
        pictures=tuple(
            Picture(file=name, shows=shows) for name, shows in PICTURES.items() if name in kept.pictures
        ),
    )


def _shown(name: str) -> str:
    baseline = name.removeprefix("baseline.")
    return SHOWN.get(name, name) if baseline == name else f"{baseline} (reference)"


def _slices(evaluation: Evaluation | None) -> tuple[Table, ...]:
    """One table per column: each of its values apart, beside the champion where there was one."""
    slices = () if evaluation is None else evaluation.slices
    return tuple(
        Table(
            header=(column, "rows", "", *METRICS),
            rows=tuple(
                (one.value, str(one.rows), SHOWN.get(who, who), *(f"{figures[name]:.4f}" for name in METRICS))
                for one in slices
                if one.column == column
                for who, figures in one.scores.items()
            ),
        )
        for column in dict.fromkeys(one.column for one in slices)
    )


def attributions(found: Found) -> Section:
    """Beyond Mitchell et al.: what moves the score."""
    moved = found.attributions
    if moved is None:
        return Section(title="Explanation")
    return Section(
        title="Explanation",
        text=(
            f"Mean absolute Shapley value of each feature over {moved.rows} rows of the evaluation data: by how "
            f"much knowing it moves the score, on average, from {moved.base:.4f}, the mean score of "
            f"{moved.background_rows} usual rows. Attributions and this mean add up to the score within "
            f"{max(moved.gap, 1e-9):.0e}. They say what the model used, not what causes failures; of features "
            "that say the same, each gets a part.",
        ),
        tables=(
            Table(
                header=("feature", "mean absolute attribution"),
                rows=tuple((name, f"{mean:.4f}") for name, mean in moved.mean_absolute),
            ),
        ),
        pictures=(Picture(file=ATTRIBUTIONS_PICTURE, shows="Mean absolute attribution of each feature"),)
        if ATTRIBUTIONS_PICTURE in found.pictures
        else (),
    )


def _estimate(found: Mapping[str, float], name: str) -> str:
    if name not in found:
        return "-"
    interval = f" [{found[f'{name}.low']:.4f}, {found[f'{name}.high']:.4f}]" if f"{name}.low" in found else ""
    return f"{found[name]:.4f}{interval}"
