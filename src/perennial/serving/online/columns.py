"""Feature values of a request, by feature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any


# Not frozen: every request makes one.
@dataclass(slots=True)
class FeatureColumns:
    """Feature values of the rows of a request."""

    columns: Mapping[str, Sequence[Any]]
    """Feature -> value per row; None or NaN where it is not known."""
    unknown: Set[int]
    """Places of the rows with an entity that is not known; their values say nothing."""
