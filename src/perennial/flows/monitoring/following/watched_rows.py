"""The rows of a version that a look needs: those that may be in its window, and those whose labels may still come.

Rows may come in any order. A row that has left the window, since enough newer ones of its request, of its client or of
all are there, never comes back, whatever comes later; so it is forgotten. What stays is at most two windows, the
predictions before whose time not all are mature, and as many rows as came since the last look.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from perennial.core.monitoring_spec import MonitoringSpec
from perennial.flows.feedback.votes import request_of
from perennial.flows.monitoring.window import LOOK_BACK, Window, may_be_judged, window_of

if TYPE_CHECKING:
    import pandas as pd

KEPT = ("prediction_id", "request_id", "at", "client", "score", "decision", "task", "answer")
JUDGED = ("prediction_id", "at", "score", "decision", "task", "answer")
FEATURE = "feature:"
SERIAL = "serial"
"""Number of a row among those that were taken: the log has no such column."""
LABELLED = (SERIAL, "prediction_id", "score", "decision", "task", "answer")
"""Columns that a label is compared with."""
EMPTY: dict[str, Any] = {"at": "datetime64[ns, UTC]", "score": float, SERIAL: int}
MOST_FRESH = 4
"""Windows of rows that are taken before those that can be forgotten are looked for."""


class WatchedRows:
    """Rows of a version, taken from the log as they come.

    Args:
        until: predictions before it are in the detector of harm already; None: there is none.
    """

    def __init__(self, policy: MonitoringSpec, digest: str, until: datetime | None) -> None:
        self.policy, self.digest, self.until = policy, digest, until
        self.taken = 0
        """Rows of the version that were taken."""
        self._window: list[pd.DataFrame] = []
        self._open: list[pd.DataFrame] = []

    def take(self, rows: pd.DataFrame) -> None:
        """Take rows of the log, of any version."""
        own = rows[(rows["digest"] == self.digest) & ~rows["shadow"].astype(bool)]
        if own.empty:
            return
        own = own.sort_values("at", kind="stable")
        serial = np.arange(self.taken, self.taken + len(own))
        self.taken += len(own)
        names = (
            [f"{FEATURE}{name}" for name in orjson.loads(own["names"].iloc[-1])] if "names" in own else None
        )
        columns = [
            name
            for name in own.columns
            if name in KEPT or (name.startswith(FEATURE) and (names is None or name in names))
        ]
        own = own[columns].assign(**{SERIAL: serial})
        if "task" in own:
            own["task"] = own["task"].map(sys.intern)
        _add(self._window, own)
        if sum(map(len, self._window)) > MOST_FRESH * self.policy.window:
            self._forget()
        if self.until is not None and len(late := own[own["at"] >= self.until]):
            _add(self._open, _packed(late))

    def needs_before(self, at: datetime) -> bool:
        """Return whether rows before this time can still be of use."""
        if self.until is not None and self.until < at:
            return True
        self._forget()
        rows = window_of(self._rows(), self.policy).rows
        return len(rows) < self.policy.window or bool(rows["at"].iloc[0] < at)

    def window(self, now: datetime) -> Window:
        """Return the newest `monitoring.window` predictions."""
        self._forget()
        rows = self._rows()
        self._window = [rows[rows["at"] >= now - LOOK_BACK[-1]]]
        return window_of(self._window[0].drop(columns=SERIAL), self.policy)

    def unjudged(self, until: datetime) -> pd.DataFrame:
        """Return the predictions at or after a time in its order, and forget those before.

        Columns: those of `JUDGED`, serial, and cluster, equal for the rows of a request.
        """
        self.until = until
        rows = _together(self._open, (*JUDGED, SERIAL, "cluster"))
        self._open = [rows[rows["at"] >= until]]
        return self._open[0]

    @property
    def count(self) -> int:
        """Return the number of rows in memory; one that is in the window and unjudged counts twice."""
        return sum(map(len, (*self._window, *self._open)))

    def serials(self) -> np.ndarray:
        """Return the serial numbers of the rows in memory, in no order, some twice."""
        parts = [part[SERIAL].to_numpy() for part in (*self._window, *self._open)]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=int)

    def asked_for(self, first: int, predictions: Collection[str]) -> pd.DataFrame:
        """Return the rows in memory from a serial number on, and those of some predictions, each once.

        Columns: `LABELLED`.
        """
        import pandas as pd

        parts = []
        for part in (*self._window, *self._open):
            asked = part[SERIAL].to_numpy() >= first
            if predictions:
                asked |= part["prediction_id"].isin(predictions).to_numpy()
            if asked.any():
                parts.append(part.loc[asked].reindex(columns=[*LABELLED]))
        if not parts:
            return _together((), LABELLED)
        return pd.concat([part.astype({"prediction_id": object}) for part in parts]).drop_duplicates(SERIAL)

    def _rows(self) -> pd.DataFrame:
        return _together(self._window, (*KEPT, SERIAL))

    def _forget(self) -> None:
        rows = self._rows()
        self._window = [rows[may_be_judged(rows, self.policy)]]


def _packed(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of `JUDGED` and the cluster, with the ids in less memory."""
    import pandas as pd

    cluster = pd.util.hash_array(request_of(rows).to_numpy(dtype=object), categorize=False)
    packed = rows.reindex(columns=[*JUDGED, SERIAL]).assign(cluster=cluster)
    return packed.astype({"prediction_id": "string[pyarrow]"})


def _add(parts: list[pd.DataFrame], rows: pd.DataFrame) -> None:
    """Add rows to parts that have ever fewer rows, so that they stay few and each row is copied few times."""
    while parts and len(parts[-1]) <= len(rows):
        rows = _together([parts.pop(), rows], ())
    parts.append(rows)


def _together(parts: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    """Return the rows of all parts in order of their time; those of a request stay in their order."""
    import pandas as pd

    filled = [part for part in parts if len(part)]
    if not filled:
        empty = pd.DataFrame({name: np.empty(0, dtype=object) for name in columns})
        return empty.astype({name: kind for name, kind in EMPTY.items() if name in columns})
    if len(filled) == 1:
        return filled[0]
    return pd.concat(filled).sort_values("at", kind="stable", ignore_index=True)
