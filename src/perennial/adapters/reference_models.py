"""Classifiers of scikit-learn that a model is measured against; they are never served."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from perennial.core.training.examples import Examples

SEED = 0


def logistic_regression(train: Examples, features: np.ndarray) -> np.ndarray:
    """Standardised inputs, medians and indicators for missing ones; default strength of the L2 penalty.

    Returns:
        The chance of target 1 for each row of `features`, [n].
    """
    model = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True),
        StandardScaler(),
        LogisticRegression(max_iter=1000, random_state=SEED),
    )
    with warnings.catch_warnings():
        # A reference that did not quite converge is still the same yardstick.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(train.features, train.target)
    return model.predict_proba(features)[:, 1]


def gradient_boosting(train: Examples, features: np.ndarray) -> np.ndarray:
    """Histogram gradient boosting as it comes, with its own handling of missing values; returns as above."""
    model = HistGradientBoostingClassifier(random_state=SEED)
    # On a busy machine its threads wait for each other and are ten times slower than one alone.
    with threadpool_limits(limits=1, user_api="openmp"):
        model.fit(train.features, train.target)
        return model.predict_proba(features)[:, 1]
