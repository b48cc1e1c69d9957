"""Compare two versions by the labels as they came, as if none were missing.

A selection of labels misleads this comparison, so that it fails nobody (`within_truth` does). But where it proves the
contrary of what was found with shares of the truths that labels do not show, one of both is wrong.
"""

from __future__ import annotations

from perennial.core.mean_bounds import mean_exceeds
from perennial.core.release.label_counts import LabelCounts
from perennial.core.statistics import one_side, proportion_bounds


def more_right(candidate: LabelCounts, champion: LabelCounts, confidence: float) -> bool:
    """Return whether a larger share of the candidate's labelled requests is proven right."""
    each = one_side(confidence)
    low, _ = proportion_bounds(candidate.right, max(candidate.requests, candidate.right), each)
    _, high = proportion_bounds(champion.right, max(champion.requests, champion.right), each)
    return bool(low > high)


def less_loss(candidate: LabelCounts, champion: LabelCounts, confidence: float) -> bool:
    """Return whether the candidate's mean loss is proven below the champion's."""
    mine, theirs = ((side.loss, side.squares, side.requests) for side in (candidate, champion))
    return bool(mean_exceeds(*theirs, *mine, 1.0, confidence))
