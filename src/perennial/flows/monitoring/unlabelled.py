"""Find who sends no labels (`core.release.analysis.unlabelled`) in logged requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from perennial.core.release.analysis.unlabelled import askers_without_labels
from perennial.core.statistics import Booleans

if TYPE_CHECKING:
    import pandas as pd

    from perennial.flows.monitoring.truths import Truths

ASKERS = ("entity", "unit", "client")
"""Columns that say for whom, by which user and from which address a request came."""
NOBODY = ""

Silent = Mapping[str, "pd.Index[Any]"]
"""Column of `ASKERS` -> its values of which hardly a label comes; `NOBODY`: requests without a value."""


def silent_askers(answered: pd.DataFrame, votes: pd.DataFrame, truths: Truths) -> Silent:
    """Return the entities, users and clients of which hardly a label comes, each kind without those before it.

    Args:
        answered: answered rows of the log, of both versions and all steps together.
        votes: votes about some of them, before a cap for each source takes some away.
    """
    import pandas as pd

    labels = votes.assign(truth=truths.of_labels(votes)).drop_duplicates(["prediction_id", "truth"])
    # A truth that is answered and never labelled says nothing of who is in it, so it keeps everybody.
    truth, names = pd.factorize(np.concatenate([labels["truth"], truths.of_answers(answered)]))
    truth = truth[: len(labels)]
    askers = pd.concat([answered[[*ASKERS]], labels[[*ASKERS]]])
    out: Booleans = np.zeros(len(askers), dtype=bool)
    of_answers, of_labels = slice(len(answered)), slice(len(answered), None)
    silent = {}
    for column in ASKERS:
        place, each = pd.factorize(_named(askers, column))
        asked = np.bincount(place[of_answers][~out[of_answers]], minlength=len(each))
        labelled = np.zeros((len(each), len(names)))
        counting = ~out[of_labels]
        np.add.at(labelled, (place[of_labels][counting], truth[counting]), 1.0)
        found = askers_without_labels(asked.astype(np.float64), labelled)
        silent[column] = each[found]
        out |= found[place]
    return silent


def asked_by(rows: pd.DataFrame, silent: Silent) -> Booleans:
    """Return which rows of the log came from one of these askers, [n]."""
    asked: Booleans = np.zeros(len(rows), dtype=bool)
    for column, names in silent.items():
        asked |= _named(rows, column).isin(names)
    return asked


def _named(rows: pd.DataFrame, column: str) -> pd.Index[Any]:
    import pandas as pd

    values = rows[column]
    return pd.Index(np.where(values.isna(), NOBODY, values.to_numpy(dtype=object)), dtype=object)
