"""Leave out the requests of askers that send no labels (`core.release.analysis.unlabelled`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from perennial.core.release.analysis.unlabelled import askers_without_labels
from perennial.core.statistics import Booleans

if TYPE_CHECKING:
    import pandas as pd

    from perennial.flows.monitoring.truths import Truths

ASKERS = ("entity", "unit", "client")
"""Columns that say for whom, by which user and from which address a request came."""
NOBODY = ""


def left_out(answered: pd.DataFrame, known: pd.DataFrame, truths: Truths) -> Booleans:
    """Return which answered predictions are of an entity, user or client of which hardly a label comes, [n].

    Args:
        answered: answered rows of the log, both versions together.
        known: votes about some of them.
    """
    import pandas as pd

    labels = known.assign(truth=truths.of_labels(known)).drop_duplicates(["prediction_id", "truth"])
    truth, names = pd.factorize(labels["truth"])
    askers = pd.concat([answered[[*ASKERS]], labels[[*ASKERS]]])
    out: Booleans = np.zeros(len(askers), dtype=bool)
    of_answers, of_labels = slice(len(answered)), slice(len(answered), None)
    for column in ASKERS:
        place, each = pd.factorize(
            askers[column].fillna(NOBODY)
        )  # requests without a name are those of one asker
        asked = np.bincount(place[of_answers][~out[of_answers]], minlength=len(each))
        labelled = np.zeros((len(each), len(names)))
        counting = ~out[of_labels]
        np.add.at(labelled, (place[of_labels][counting], truth[counting]), 1.0)
        out |= askers_without_labels(asked.astype(np.float64), labelled)[place]
    return out[of_answers]
