"""Ranking: a score in [0, 1] that orders the rows of a group, such as the tests of a CI cycle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from perennial.core.tasks.ranked_scores import RankedScores
from perennial.core.tasks.score import ScoreTask
from perennial.core.tasks.values import Metric, plain


class Ranking(ScoreTask):
    """Binary targets, 0 or 1, ranked within their group."""

    kind: Literal["ranking"] = "ranking"

    @property
    def metrics(self) -> Mapping[str, Metric]:
        return {
            "roc_auc": Metric(),
            "pr_auc": Metric(),
            "brier": Metric(lower_is_better=True),
            "napfd": Metric(),
        }

    def valid_label(self) -> str:
        return "0 or 1"

    def label(self, value: Any) -> float | None:
        number = plain(value)
        return number if number in (0.0, 1.0) and isinstance(number, float) else None

    def valid_vote(self) -> str:
        return "a number from 0 to 1"

    def vote(self, value: Any) -> float | None:
        """Return the label; a source that is not sure may send a number between 0 and 1."""
        number = plain(value)
        return number if isinstance(number, float) and 0 <= number <= 1 else None

    def scored(
        self, target: np.ndarray, answer: np.ndarray, group: np.ndarray, features: np.ndarray | None = None
    ) -> RankedScores:
        return RankedScores(self, target, answer, group)
