"""Slices and fairness of a performance report: answers by the values of a column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from perennial.core.evaluation import fairness
from perennial.core.evaluation.fairness import Answers
from perennial.core.input_spec import InputKind
from perennial.core.performance.cluster_mean import CONFIDENCE, ClusterMean, difference, runs_of_time
from perennial.core.performance.figures import FairnessFigures, SliceFigures
from perennial.core.spec import ModelSpec
from perennial.flows.evaluation.checks import compared_groups
from perennial.flows.feedback.votes import by_task
from perennial.flows.monitoring.labels_by_truth import values_named
from perennial.ports import GroupFigures

if TYPE_CHECKING:
    import pandas as pd

MOST_VALUES = 8
"""Distinct values up to which each is a slice; numbers with more are cut at their quartiles."""
PARTS = 4
"""Parts of the time that fairness is measured in: a period has too few labels."""


def slice_figures(spec: ModelSpec, rows: pd.DataFrame) -> tuple[SliceFigures, ...]:
    """Return the slices with enough labelled answers, the worst first.

    Their differences from all other answers hold together (Bonferroni's correction), so that many slices make no
    false finding.
    """
    labelled = rows[rows["right"].notna()]
    columns = {*spec.monitoring.columns, *spec.data.sensitive, *spec.evaluation.slices}
    masks = [
        (column, value, mask)
        for column in sorted(columns)
        for value, mask in _values(spec, labelled, column)
        if mask.sum() >= spec.evaluation.slice_min_rows and (~mask).any()
    ]
    level = 1 - (1 - CONFIDENCE) / max(1, len(masks))
    right = labelled["right"].to_numpy(dtype=float)
    run = runs_of_time(labelled["request_id"].to_numpy(dtype=str))
    slices = []
    for column, value, mask in masks:
        inside, rest = (
            ClusterMean.of(right[mask], run[mask]),
            ClusterMean.of(right[~mask], run[~mask]),
        )
        if inside is None or rest is None:
            raise AssertionError(f"{column} {value}: no rows")
        slices.append(
            SliceFigures(
                column=column,
                value=value,
                predictions=int(mask.sum()),
                labelled=int(mask.sum()),
                right=inside.estimate(),
                below_rest=difference(inside, rest, level),
            )
        )
    return tuple(sorted(slices, key=lambda part: part.right.value if part.right else 1.0))


def fairness_figures(
    spec: ModelSpec, rows: pd.DataFrame, group_figures: GroupFigures
) -> tuple[FairnessFigures, ...]:
    """Return the gaps of the spec's measures in each part of the time, for columns with two groups or more."""
    labelled = rows[rows["right"].notna()]
    figures = []
    for part in np.array_split(np.arange(len(labelled)), PARTS) if len(labelled) >= PARTS else ():
        answers = labelled.iloc[part]
        for column in dict.fromkeys([*spec.data.sensitive, *spec.evaluation.slices]):
            values = _column(spec, answers, column)
            if values is None:
                continue
            sides = _as_answers(answers, values)
            for measure, _ in fairness.limits(spec.gate.fairness):
                compared = compared_groups(spec, sides, measure, group_figures)
                if compared is not None:
                    by_group, gap = compared
                    figures.append(
                        FairnessFigures(
                            begin=answers["at"].iloc[0].floor("us").to_pydatetime(),
                            end=answers["at"].iloc[-1].floor("us").to_pydatetime(),
                            column=column,
                            measure=measure,
                            groups=by_group,
                            gap=gap,
                        )
                    )
    return tuple(figures)


def _as_answers(rows: pd.DataFrame, values: np.ndarray) -> Answers:
    """Return target and answer of each row under the task that it was answered with."""
    target, answer = np.zeros(len(rows), dtype=bool), np.zeros(len(rows), dtype=bool)
    for task, places, part in by_task(rows):
        score, decision, label = (part[name].to_numpy() for name in ("score", "decision", "label"))
        target[places], answer[places] = task.sides(score, decision, label)
    _, group = np.unique(rows["request_id"].to_numpy(dtype=str), return_inverse=True)
    return Answers(target=target, answer=answer, group=group, values=values)


def _values(spec: ModelSpec, rows: pd.DataFrame, column: str) -> list[tuple[str, np.ndarray]]:
    """Return the values of a column, or its quarters where it has many, with the rows of each."""
    values = _column(spec, rows, column)
    if values is None:
        return []
    names = np.unique(values)
    if len(names) <= MOST_VALUES:
        return [(str(name), values == name) for name in names]
    feature = f"feature:{column}"
    if feature not in rows:
        return []
    numbers = rows[feature].to_numpy(dtype=float)
    edges = np.unique(np.nanquantile(numbers, [0.25, 0.5, 0.75]))
    code = np.searchsorted(edges, numbers, side="right")
    bounds = [-np.inf, *edges, np.inf]
    quarters = [
        (f"[{bounds[place]:.4g}, {bounds[place + 1]:.4g})", (code == place) & np.isfinite(numbers))
        for place in range(len(edges) + 1)
    ]
    return [*quarters, ("missing", ~np.isfinite(numbers))]


def _name(value: float, categories: Sequence[str]) -> str:
    if np.isnan(value):
        return "missing"
    # A version may have answered under another list of categories than that of the spec of today.
    return categories[int(value)] if 0 <= value < len(categories) else f"{value:g}"


def _column(spec: ModelSpec, rows: pd.DataFrame, column: str) -> np.ndarray | None:
    """Return the values of a column as texts: of a feature, an entity or a request value; None where no row has it."""
    feature = f"feature:{column}"
    if feature in rows:
        numbers, given = rows[feature].to_numpy(dtype=float), spec.features.inputs.get(column)
        names = given.categories if given is not None and given.type is InputKind.CATEGORY else ()
        return np.array([_name(value, names) for value in numbers])
    values = values_named(rows, column)
    if not values.notna().any():
        return None
    return np.asarray(values.where(values.notna(), "missing").astype(str))
