"""What watches, and what runs when it found something."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pandas as pd

    from perennial.core.monitoring.drift import ColumnDrift
    from perennial.core.spec import ModelSpec


class DriftReporter(Protocol):
    """Drift of a window against a reference (Evidently)."""

    def compare(
        self, spec: ModelSpec, reference: pd.DataFrame, window: pd.DataFrame, html: Path | None
    ) -> list[ColumnDrift]:
        """PSI per watched column and of `score`; writes the HTML report when `html` is given."""


class Scheduler(Protocol):
    """Runs of DAGs (Airflow)."""

    def raise_event(self, asset: str, extra: Mapping[str, Any]) -> None:
        """Raise an asset event; the DAGs scheduled on it start."""

    def trigger(self, dag: str, conf: Mapping[str, Any]) -> str:
        """Start a run; returns its id."""

    def state(self, dag: str, run: str) -> str: ...
