"""DriftReporter port over Evidently: its PSI and its report, on our own bins.

Evidently cuts numbers into bins of equal width over both samples and ignores missing values, so an outlier
or missing values can hide a drift. The columns are therefore cut first (`core.monitoring.drift.Bins`) and passed
as categories with readable names; Evidently computes their PSI and plots them.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd

from perennial.core.monitoring.drift import DECISION, SCORE, Bins, ColumnDrift, allowance
from perennial.core.spec import ModelSpec
from perennial.errors import DataError
from perennial.files import replacing

os.environ.setdefault("DO_NOT_TRACK", "1")  # read by Evidently when it is imported
# Imported here, though it takes seconds: the monitor pays at its start, not at its first verdict.
from evidently import DataDefinition, Dataset, Report
from evidently.metrics import ValueDrift

METHOD = "psi"


class EvidentlyDrift:
    """The DriftReporter port."""

    def compare(
        self, spec: ModelSpec, reference: pd.DataFrame, window: pd.DataFrame, html: Path | None
    ) -> list[ColumnDrift]:
        """Return the drift of each watched column, the score, and the decision where it says more, in this order.

        Args:
            reference: watched columns, `score` and the group column; rows in time order.
            window: watched columns and `score`.
            html: path of the report; "drift detected" there means the `watch` level above the allowance.

        Raises:
            DataError: a column or all rows are missing, or the reference has a single group.
        """
        answers = [SCORE] if spec.task.one_number else [SCORE, DECISION]
        columns = [*spec.monitoring.columns, *answers]
        check(reference, [*columns, spec.evaluation.group], "the reference")
        check(window, columns, "the window")
        group = reference[spec.evaluation.group].to_numpy()
        labelled: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        allowed: dict[str, float] = {}
        for column in columns:
            values = reference[column].to_numpy(dtype=float)
            bins = Bins.of(values, spec.monitoring.bins)
            codes = bins.codes(values)
            labels = np.array(bins.labels, dtype=object)
            labelled[column] = (labels[codes], labels[bins.codes(window[column].to_numpy(dtype=float))])
            allowed[column] = allowance(codes, group, bins.size, len(window), spec.tuning.seed)
        limits = {column: allowed[column] + spec.monitoring.psi.watch for column in columns}
        psi = _run(labelled, limits, html)
        return [
            ColumnDrift(column=column, psi=max(0.0, psi[column]), allowance=allowed[column])
            for column in columns
        ]


def check(table: pd.DataFrame, columns: list[str], which: str) -> None:
    """Raise DataError if the table has no rows or lacks a column."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise DataError(f"{which} has no column {', '.join(missing)}", hint="monitoring.columns of the spec")
    if table.empty:
        raise DataError(f"{which} has no rows", hint="wait for predictions, or train again")


def _run(
    labelled: dict[str, tuple[np.ndarray, np.ndarray]], limits: dict[str, float], html: Path | None
) -> dict[str, float]:
    """Return the PSI of each column from an Evidently report.

    Args:
        labelled: column -> bin labels of the reference and of the window.
        limits: column -> PSI from which the report says "drift detected".
        html: path to save the report; None to save nothing.
    """
    definition = DataDefinition(categorical_columns=list(labelled))
    reference, window = (
        Dataset.from_pandas(
            pd.DataFrame({column: pair[place] for column, pair in labelled.items()}),
            data_definition=definition,
        )
        for place in (0, 1)
    )
    metrics = [ValueDrift(column=column, method=METHOD, threshold=limits[column]) for column in labelled]
    snapshot = Report(metrics).run(current_data=window, reference_data=reference)
    if html is not None:
        with replacing(html) as temporary:  # a person may have the page open
            snapshot.save_html(str(temporary))
    return {metric["config"]["column"]: float(metric["value"]) for metric in snapshot.dict()["metrics"]}
