"""The votes about the rows that the monitor has in memory: each look reads the labels that were changed since the last.

A row and its label come in any order, so each side asks for the other: of rows that came the store is asked for their
labels, and of predictions whose labels were changed the rows in memory. What is asked for is read whole and replaces
what was known, so a repeated, corrected or withdrawn label needs no rule of its own. Votes about rows that are
forgotten are forgotten with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from perennial.core.release_spec import FeedbackSpec
from perennial.flows.feedback.votes import counted, labels_of, losses, right, votes
from perennial.flows.monitoring.following.watched_rows import SERIAL, WatchedRows
from perennial.ports import FeedbackStore

if TYPE_CHECKING:
    import pandas as pd

KEPT = (SERIAL, "prediction_id", "source", "value", "right", "loss")
SPARE = 1000
"""Votes about forgotten rows that may stay, besides as many as there are rows."""


class WatchedVotes:
    """Votes about the rows of a version.

    Args:
        policy: whose labels count.
    """

    def __init__(self, policy: FeedbackSpec) -> None:
        self.policy = policy
        self._change: int | None = None
        self._asked = 0
        """Serial number of the first row whose labels were not asked for."""
        self._votes: pd.DataFrame | None = None

    def follow(self, model: str, rows: WatchedRows, feedback: FeedbackStore) -> bool:
        """Read what the labels of rows in memory became; return False where all must be read anew.

        Read again after an error, it leaves out nothing: the place moves on with the votes.
        """
        change, changed = feedback.label_changes(model, self._change)
        if changed is None:
            return False
        asked = rows.asked_for(self._asked, changed)
        known = votes(labels_of(self.policy, feedback, asked["prediction_id"].tolist()))
        fresh = asked.astype({"prediction_id": object}).merge(known, on="prediction_id")
        fresh = fresh.assign(right=right(fresh), loss=losses(fresh))[[*KEPT]]
        fresh = fresh.astype({"prediction_id": "string[pyarrow]", "source": "category"})
        self._replace(asked[SERIAL].to_numpy(), fresh, rows)
        self._change, self._asked = change, rows.taken
        return True

    def about(self, window: pd.DataFrame) -> pd.DataFrame:
        """Return the votes about the rows of a window, as `votes` does."""
        own = self._known()[["prediction_id", "source", "value"]]
        own = own[own["prediction_id"].isin(window["prediction_id"])]
        return own.astype({"prediction_id": object, "source": object})

    def values(self, rows: pd.DataFrame) -> np.ndarray:
        """Return how right each row is by the votes that count, minus its loss where its kind has one; float [n].

        NaN without a vote that counts.

        Args:
            rows: from `WatchedRows.unjudged`.
        """
        values = np.full(len(rows), np.nan)
        serial = rows[SERIAL].to_numpy()
        order = np.argsort(serial, kind="stable")
        known = self._known()
        place = np.searchsorted(serial, known[SERIAL].to_numpy(), sorter=order)
        place = order[np.minimum(place, len(rows) - 1)] if len(rows) else np.zeros(0, dtype=int)
        own = known[serial[place] == known[SERIAL].to_numpy()] if len(rows) else known[:0]
        own = counted(own, self.policy)
        mean = own.groupby(SERIAL, sort=True)[["right", "loss"]].mean()
        value = mean["right"].where(mean["loss"].isna(), -mean["loss"])
        values[order[np.searchsorted(serial, mean.index.to_numpy(), sorter=order)]] = value.to_numpy()
        return values

    def _known(self) -> pd.DataFrame:
        if self._votes is None:
            raise RuntimeError("labels were not read: call follow")
        return self._votes

    def _replace(self, serials: np.ndarray, fresh: pd.DataFrame, rows: WatchedRows) -> None:
        """Put votes in place of those about some rows."""
        import pandas as pd

        known = self._votes
        if known is None:
            known = fresh
        elif len(serials):
            kept = known[~np.isin(known[SERIAL].to_numpy(), serials)]
            if len(fresh) or len(kept) < len(known):
                known = pd.concat([kept, fresh], ignore_index=True)
                known = known.astype({"source": "category"})  # of other sources, concat makes texts of both
        if len(known) > 2 * rows.count + SPARE:
            known = known[np.isin(known[SERIAL].to_numpy(), rows.serials())].reset_index(drop=True)
        self._votes = known
