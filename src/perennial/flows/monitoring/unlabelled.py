"""Leave out the requests of askers that send no labels (`core.release.analysis.unlabelled`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from perennial.core.release.analysis.unlabelled import askers_without_labels

if TYPE_CHECKING:
    import pandas as pd

    from perennial.flows.monitoring.truths import Truths

ASKERS = ("entity", "unit", "client")
"""Columns that say for whom, by which user and from which address a request came."""
NOBODY = ""


def left_out(answered: pd.DataFrame, known: pd.DataFrame, truths: Truths) -> pd.Series[bool]:
    """Return which answered predictions are of an entity, user or client of which hardly a label comes.

    Args:
        answered: answered rows of the log, both versions together.
        known: votes about some of them.
    """
    import pandas as pd

    out = pd.Series(False, index=answered.index)
    labels = known.assign(truth=truths.of_labels(known)).drop_duplicates(["prediction_id", "truth"])
    for column in ASKERS:
        asker = answered[column].fillna(NOBODY)  # requests without a name are those of one asker
        asked = asker[~out].value_counts()
        kept = labels[labels["prediction_id"].isin(answered.loc[~out, "prediction_id"])]
        by_truth = pd.crosstab(kept[column].fillna(NOBODY), kept["truth"]).reindex(asked.index, fill_value=0)
        silent = askers_without_labels(np.asarray(asked, dtype=np.float64), by_truth.to_numpy(dtype=float))
        out |= asker.isin(asked.index[silent])
    return out
