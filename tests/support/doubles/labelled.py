"""Counts of labelled requests, as `flows.monitoring.accuracy` would return them."""

from __future__ import annotations

import numpy as np

from perennial.core.release.label_counts import LabelCounts, TruthCounts

SLICES = 20
NAMES = ("negative", "positive")


def drawn(
    random: np.random.Generator,
    requests: int,
    share: float,
    missed: float,
    false: float,
    labelled: tuple[float, float] = (1.0, 1.0),
) -> LabelCounts:
    """Draw the requests of a version.

    Args:
        share: of the positive ones; missed, false: error rates of positive and negative ones.
        labelled: chances that a label of a positive and of a negative one comes.
    """
    truth = random.random(requests) < share
    wrong = random.random(requests) < np.where(truth, missed, false)
    known = random.random(requests) < np.where(truth, *labelled)
    return counts_of(truth.astype(int), np.where(wrong, 1 - truth, truth).astype(int), known)


def counts_of(
    truth: np.ndarray,
    answer: np.ndarray,
    known: np.ndarray,
    names: tuple[str, ...] = NAMES,
    group: np.ndarray | None = None,
) -> LabelCounts:
    """Return the counts of requests with these truths and answers (places in `names`), of which some are labelled."""
    groups = np.arange(len(truth)) * SLICES // max(1, len(truth)) if group is None else group
    size = SLICES if group is None else int(group.max()) + 1
    truths = {}
    for place, name in enumerate(names):
        own = known & (truth == place)
        wrong = own & (answer != place)
        truths[name] = TruthCounts(
            requests=own.sum(),
            wrong=wrong.sum(),
            answers={other: float((own & (answer == at)).sum()) for at, other in enumerate(names)},
            groups={
                "time": tuple(
                    (float(many), float(off), 0.0, 0.0)
                    for many, off in zip(
                        np.bincount(groups[own], minlength=size),
                        np.bincount(groups[wrong], minlength=size),
                        strict=True,
                    )
                )
            },
        )
    return LabelCounts(
        right=float((known & (truth == answer)).sum()),
        requests=known.sum(),
        labels=known.sum(),
        maturity_hours=1.0,
        answered=len(truth),
        answers={name: float((answer == at).sum()) for at, name in enumerate(names)},
        truths=truths,
    )


def evenly(right: float, requests: int) -> LabelCounts:
    """Return the counts of requests of which `right` are answered rightly, evenly over both truths and the time."""
    at = np.arange(requests)
    wrong = np.floor((at + 1) * (1 - right / requests)) > np.floor(at * (1 - right / requests))
    truth = at // 7 % 2
    return counts_of(truth, np.where(wrong, 1 - truth, truth), np.ones(requests, dtype=bool))
