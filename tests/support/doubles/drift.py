"""Drift by the pure functions alone: what the real adapter must agree with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from perennial.core.monitoring.dependence import clusters
from perennial.core.monitoring.drift import SCORE, ColumnDrift
from perennial.core.monitoring.measured import measure
from perennial.core.monitoring.views.made import made
from perennial.core.spec import ModelSpec
from perennial.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


class MemoryDrift:
    """The DriftReporter port without a tool; its report is one line per column."""

    def compare(
        self,
        spec: ModelSpec,
        reference: pd.DataFrame,
        window: pd.DataFrame,
        html: Path | None,
        warn_level: float | None = None,
    ) -> list[ColumnDrift]:
        watched = {name: list(spec.features.watched(name)) for name in spec.monitoring.columns}
        watched[SCORE] = [SCORE]
        views = {name: list(spec.features.viewed(name)) for name in watched}
        columns = {column for part in (watched, views) for columns in part.values() for column in columns}
        missing = (columns - set(window.columns)) | (columns - set(reference.columns))
        if missing or reference.empty or window.empty:
            raise DataError(f"rows or columns are missing: {sorted(missing)}", hint="monitoring.columns")
        group = reference[spec.evaluation.group].to_numpy()
        asked = window.get("request", window.index).to_numpy()
        drifts = measure(
            {
                name: (reference[columns].to_numpy(dtype=float), window[columns].to_numpy(dtype=float))
                if columns
                else made(
                    name, reference[views[name]].to_numpy(), clusters(group), window[views[name]].to_numpy()
                )
                for name, columns in watched.items()
            },
            group, asked, spec.monitoring.bins, spec.tuning.seed, answers=frozenset({SCORE}), warn_level=warn_level,
        )  # fmt: skip
        if html is not None:
            html.parent.mkdir(parents=True, exist_ok=True)
            lines = [f"<li>{one.column}: {one.psi:.4f} ({one.allowance:.4f})</li>" for one in drifts]
            html.write_text(f"<ul>{''.join(lines)}</ul>", encoding="utf-8")
        return drifts
