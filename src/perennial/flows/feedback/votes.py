"""Labels and rewards by source, joined with the predictions: each source has a vote per prediction."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

from perennial.core.monitoring.source_quota import quotas
from perennial.core.release_spec import FeedbackSpec
from perennial.core.tasks.stored import logged_task

if TYPE_CHECKING:
    import pandas as pd

    from perennial.ports import BySource


def votes(values: BySource) -> pd.DataFrame:
    """Return the columns prediction_id, source and value, a row per vote."""
    import pandas as pd

    rows = [(name, source, value) for source, named in values.items() for name, value in named.items()]
    return pd.DataFrame(rows, columns=["prediction_id", "source", "value"])


def right(rows: pd.DataFrame) -> np.ndarray:
    """Return how right each answer is under its own kind of task, float [n] in [0, 1].

    Args:
        rows: columns task, score, decision and answer of the log, and value, the label as the store has it.
    """
    shares = np.zeros(len(rows))
    for text, places in rows.groupby("task", sort=False).indices.items():
        part = rows.iloc[places]
        score, decision, label = (part[name].to_numpy() for name in ("score", "decision", "value"))
        task = logged_task(str(text))
        wide = task.width() is not None and part["answer"].notna().all()
        answer = np.array(part["answer"].tolist(), dtype=float) if wide else None
        shares[places] = task.right(score, decision, label, answer)
    return shares


def counted(rows: pd.DataFrame, policy: FeedbackSpec, *within: str) -> pd.DataFrame:
    """Return the votes that count by the policy.

    The votes that count of a source with too many are chosen by a hash of the prediction id, which the server
    made: the source cannot choose them.

    Args:
        rows: votes, joined with their predictions.
        within: columns; the cap holds for each combination of their values.
    """
    import pandas as pd

    if rows.empty:
        return rows
    sole = rows[rows["source"] == policy.sole_source]
    if len(sole):
        return sole
    kept = []
    for _, group in rows.groupby(list(within), sort=False) if within else [((), rows)]:
        quota = quotas(
            {str(source): int(count) for source, count in group["source"].value_counts().items()},
            policy.source_share,
        )
        for source, own in group.groupby("source", sort=False):
            kept.append(_chosen(own, quota[str(source)]))
    return pd.concat(kept).sort_index()


def _chosen(own: pd.DataFrame, count: int) -> pd.DataFrame:
    if count >= len(own):
        return own
    order = own["prediction_id"].map(lambda name: sha256(str(name).encode()).hexdigest())
    return own.loc[order.sort_values().index[:count]]
