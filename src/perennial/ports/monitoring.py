"""Ports of the monitor: drift reports, scheduled runs and notices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pandas as pd

    from perennial.core.governance.notices import Notice
    from perennial.core.monitoring.day_check import ColumnProfile
    from perennial.core.monitoring.drift import ColumnDrift
    from perennial.core.monitoring.harm_detector import DetectorState
    from perennial.core.spec import ModelSpec


class DriftReporter(Protocol):
    """Drift of a window against a reference (Evidently)."""

    def compare(
        self,
        spec: ModelSpec,
        reference: pd.DataFrame,
        window: pd.DataFrame,
        html: Path | None,
        warn_level: float | None = None,
    ) -> list[ColumnDrift]:
        """Return the PSI of each watched column and of `score`; write an HTML report if `html` is given.

        A window may have a column `request`: rows of a request resemble each other. What is certain at the level of a
        warning is marked so; None: what is proven.
        """


class Profiler(Protocol):
    """Profiles of columns that can be merged (whylogs)."""

    def profile(self, table: pd.DataFrame, path: Path) -> None:
        """Write the profile of a table's columns to a file, in place of an earlier one."""

    def merged(self, paths: Sequence[Path]) -> tuple[ColumnProfile, ...]:
        """Return the columns of all these profiles together, by name; none without a profile.

        Raises:
            MalformedInput: a file is no profile.
        """


class DetectorStore(Protocol):
    """State of the detector of each model's champion (SQL)."""

    def load(self, model: str) -> tuple[int, DetectorState] | None:
        """Return the stored state with its revision."""

    def save(self, model: str, state: DetectorState, expected: int | None) -> bool:
        """Store a state in place of that with the revision `expected`, None: of no state.

        Returns:
            False, and changes nothing, where another process was first.
        """


class Scheduler(Protocol):
    """DAG runs of the scheduler (Airflow)."""

    def raise_event(self, asset: str, extra: Mapping[str, Any]) -> None:
        """Raise an asset event, which starts the DAGs scheduled on this asset."""

    def trigger(self, dag: str, conf: Mapping[str, Any]) -> str:
        """Start a run and return its id."""

    def state(self, dag: str, run: str) -> str: ...


class Notifier(Protocol):
    """Notification channels: mail, chat, webhooks (apprise)."""

    channels: tuple[str, ...]
    """Names of the channels; they hold no secret."""

    def send(self, channel: str, notice: Notice) -> None:
        """Send a notice.

        Raises:
            NotDelivered: the channel did not accept it; the message holds no secret.
        """
