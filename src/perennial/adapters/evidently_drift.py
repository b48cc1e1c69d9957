"""Drift by Evidently: its PSI, its report, on bins of ours.

Evidently cuts numbers into bins of equal width over both samples and ignores missing values, so one outlier
or a column that went missing hides a drift. The columns are therefore cut first (`core.monitoring.drift.Bins`) and
handed over as categories with readable names; Evidently computes the PSI of those and draws them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from perennial.core.monitoring.drift import SCORE, Bins, ColumnDrift, allowance
from perennial.core.spec import ModelSpec
from perennial.errors import DataError
from perennial.files import replacing

os.environ.setdefault("DO_NOT_TRACK", "1")  # read by Evidently when it is imported
# At the top, though it takes seconds: the monitor pays when it starts, not when it first has to judge.
from evidently import DataDefinition, Dataset, Report
from evidently.metrics import ValueDrift

METHOD = "psi"


class EvidentlyDrift:
    """The DriftReporter port."""

    def compare(
        self, spec: ModelSpec, reference: pd.DataFrame, window: pd.DataFrame, html: Path | None
    ) -> list[ColumnDrift]:
        """One ColumnDrift per watched column and one of the score, in this order.

        Args:
            reference: watched columns, `score` and the group column; rows in time order.
            window: watched columns and `score`.
            html: where the report goes; its "drift detected" is the spec's `watch` above the allowance.

        Raises:
            DataError: a column is missing, a side has no rows, or the reference is a single group.
        """
        columns = [*spec.monitoring.columns, SCORE]
        check(reference, [*columns, spec.evaluation.group], "the reference")
        check(window, columns, "the window")
        group = reference[spec.evaluation.group].to_numpy()
        named: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        allowed: dict[str, float] = {}
        for column in columns:
            values = reference[column].to_numpy(dtype=float)
            bins = Bins.of(values, spec.monitoring.bins)
            codes = bins.codes(values)
            labels = np.array(bins.labels, dtype=object)
            named[column] = (labels[codes], labels[bins.codes(window[column].to_numpy(dtype=float))])
            allowed[column] = allowance(codes, group, bins.size, len(window), spec.tuning.seed)
        limits = {column: allowed[column] + spec.monitoring.psi.watch for column in columns}
        found = _run(named, limits, html)
        return [
            ColumnDrift(column=column, psi=max(0.0, found[column]), allowance=allowed[column])
            for column in columns
        ]


def check(table: pd.DataFrame, columns: list[str], which: str) -> None:
    """Raise DataError unless the table has rows and all of these columns."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise DataError(f"{which} has no column {', '.join(missing)}", hint="monitoring.columns of the spec")
    if table.empty:
        raise DataError(f"{which} has no rows", hint="wait for predictions, or train again")


def _run(
    named: dict[str, tuple[np.ndarray, np.ndarray]], limits: dict[str, float], html: Path | None
) -> dict[str, float]:
    """column -> PSI, by one Evidently report."""
    definition = DataDefinition(categorical_columns=list(named))
    sides = [
        Dataset.from_pandas(
            pd.DataFrame({column: pair[side] for column, pair in named.items()}), data_definition=definition
        )
        for side in (0, 1)
    ]
    metrics = [ValueDrift(column=column, method=METHOD, threshold=limits[column]) for column in named]
    snapshot = Report(metrics).run(current_data=sides[1], reference_data=sides[0])
    if html is not None:
        _save(snapshot, html)
    return {one["config"]["column"]: float(one["value"]) for one in snapshot.dict()["metrics"]}


def _save(snapshot: Any, html: Path) -> None:
    """Whole or not at all: a person may have the page open."""
    with replacing(html) as temporary:
        snapshot.save_html(str(temporary))
