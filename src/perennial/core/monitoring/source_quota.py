"""The cap on the share of labels that a source can decide. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping


def quotas(counts: Mapping[str, int], share: float) -> dict[str, int]:
    """Return how many labels of each source count, so that none has more than `share` of those that count.

    The sources with the most labels are cut to the same number. With too few sources for the share (a single
    source and 0.5, for instance) nothing counts.
    """
    ordered = sorted(counts.values(), reverse=True)
    for capped in range(len(ordered) + 1):
        rest = sum(ordered[capped:])
        if capped * share >= 1.0:
            break
        limit = share * rest / (1.0 - capped * share) if capped else math.inf
        largest = ordered[capped] if capped < len(ordered) else 0
        total = rest + (capped * limit if capped else 0.0)
        if largest <= share * total + 1e-9:
            return {
                source: min(count, math.floor(min(limit, count) + 1e-9)) for source, count in counts.items()
            }
    return dict.fromkeys(counts, 0)
