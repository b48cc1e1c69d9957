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

from perennial.core.monitoring.dependence import clusters
from perennial.core.monitoring.drift import DECISION, JOINT, SCORE, Bins, ColumnDrift, counts, psi, shares
from perennial.core.monitoring.measured import measure
from perennial.core.monitoring.views.made import made
from perennial.core.spec import ModelSpec
from perennial.errors import DataError
from perennial.files import replacing

os.environ.setdefault("DO_NOT_TRACK", "1")  # read by Evidently when it is imported
# Imported here, though it takes seconds: the monitor pays at its start, not at its first verdict.
from evidently import DataDefinition, Dataset, Report
from evidently.metrics import ValueDrift

METHOD = "psi"
NEVER = 1e6
"""Limit of a column whose drift is not proven."""


class EvidentlyDrift:
    """The DriftReporter port."""

    def compare(
        self,
        spec: ModelSpec,
        reference: pd.DataFrame,
        window: pd.DataFrame,
        html: Path | None,
        warn_level: float | None = None,
    ) -> list[ColumnDrift]:
        """Return the drift of each watched column, the score, the decision where it says more, and all features.

        An array has the largest PSI of its columns, and an allowance for that; the report shows this column. A
        vocabulary or an embedding is compared by the numbers that are made of its columns (`views`).

        Args:
            reference: watched columns, `score` and the group column; rows in time order.
            window: watched columns and `score`; `request` where requests have several rows.
            warn_level: as of `measure`.
            html: path of the report; "drift detected" there means a proven drift at the level `watch`.

        Raises:
            DataError: a column or all rows are missing, or the reference has a single group.
        """
        answers = [SCORE] if spec.task.one_number else [SCORE, DECISION]
        watched = {name: list(spec.features.watched(name)) for name in spec.monitoring.columns}
        watched |= {name: [name] for name in answers}
        views = {name: list(spec.features.viewed(name)) for name in watched if not watched[name]}
        columns = [column for part in (watched, views) for columns in part.values() for column in columns]
        check(reference, [*columns, spec.evaluation.group], "the reference")
        check(window, columns, "the window")
        pairs = {
            name: (reference[columns].to_numpy(dtype=float), window[columns].to_numpy(dtype=float))
            for name, columns in watched.items()
            if columns
        }
        group = clusters(reference[spec.evaluation.group].to_numpy())
        for name, columns in views.items():
            pairs[name] = made(
                name, reference[columns].to_numpy(dtype=float), group, window[columns].to_numpy(dtype=float)
            )
            size = pairs[name][0].shape[1]
            watched[name] = [name] if size == 1 else [f"{name}[{place}]" for place in range(size)]
        drifts = measure(
            {name: pairs[name] for name in watched},
            group,
            window["request"].to_numpy() if "request" in window else np.arange(len(window)),
            spec.monitoring.bins,
            spec.tuning.seed,
            answers=frozenset(answers),
            warn_level=warn_level,
        )
        labelled: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        limits: dict[str, float] = {}
        shown: dict[str, str] = {}
        for drift in drifts:
            if drift.column == JOINT:
                continue
            known, seen = (values.T for values in pairs[drift.column])
            bins = [Bins.of(values, spec.monitoring.bins) for values in known]
            rows = [
                (counts(cut.codes(old), cut.size), counts(cut.codes(new), cut.size))
                for cut, old, new in zip(bins, known, seen, strict=True)
            ]
            most = int(np.argmax([psi(shares(old), shares(new)) for old, new in rows]))
            column = watched[drift.column][most]
            labels = np.array(bins[most].labels, dtype=object)
            labelled[column] = (np.repeat(labels, rows[most][0]), np.repeat(labels, rows[most][1]))
            limits[column] = drift.allowance + spec.monitoring.psi.watch if drift.is_proven else NEVER
            shown[drift.column] = column
        measured = _run(labelled, limits, html)
        return [
            drift
            if drift.column == JOINT
            else drift.model_copy(update={"psi": max(0.0, measured[shown[drift.column]])})
            for drift in drifts
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
