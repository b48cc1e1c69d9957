"""Which askers never send labels, so that the labels of others tell nothing of their requests.

A synthetic check that asks for one entity all the time, a user who never answers, a client that sends no labels: their
requests lie among those of all, but not among the labelled ones. `truth_shares` would take their answers for a sign
that another truth is common. Where a label comes by the truth alone, an asker's part of the requests is a mean of its
parts of the labels of each truth, so never above the largest of them. An asker that is far above it is no part of
what the labels describe.
"""

from __future__ import annotations

import numpy as np

from perennial.core.release.analysis.tilted_bounds import tilted_bounds
from perennial.core.statistics import Booleans, Floats

TIMES = 10.0
"""An asker's part of the requests, over its largest part of the labels of a truth, from which it is left out."""
ERROR_CHANCE = 0.01
"""That any asker of a kind is left out by chance."""


def askers_without_labels(asked: Floats, labelled: Floats) -> Booleans:
    """Return which askers are proven to be in far more of the requests than of the labels of any truth, [askers].

    Leaving one out takes its requests from both versions, whatever their answers were.

    Args:
        asked: requests of each asker, [askers].
        labelled: of these, labelled ones by truth, [askers, truths]. A truth with few labels, or none, may be that of
            any asker, so that nobody is left out.
    """
    out: Booleans = np.zeros(len(asked), dtype=bool)
    if not len(asked) or not labelled.any():
        return out
    each = 1.0 - ERROR_CHANCE / len(asked) / (1 + labelled.shape[1])
    while not out.all():  # without the largest asker, the others' parts are larger
        asking, known = np.where(out, 0.0, asked), np.where(out[:, None], 0.0, labelled)
        low, _ = tilted_bounds(asking, asking.sum(), each)
        _, high = tilted_bounds(known, known.sum(axis=0), each)
        more = low > TIMES * high.max(axis=1)
        if not more.any():
            break
        out |= more
    return out
