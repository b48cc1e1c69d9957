"""A learner that is fast."""

from __future__ import annotations

import numpy as np


def least_squares(task, train, features):
    """Fit a ridge regression in closed form, a missing value as 0; answers in the range of the targets."""
    known = np.nan_to_num(np.hstack([train.features, np.ones((len(train), 1))]).astype(float))
    weights = np.linalg.solve(known.T @ known + np.eye(known.shape[1]), known.T @ train.target)
    answer = np.nan_to_num(np.hstack([features, np.ones((len(features), 1))])) @ weights
    return np.clip(answer, train.target.min(), train.target.max())
