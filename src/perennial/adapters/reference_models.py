"""Reference models of scikit-learn to compare a model with; they are never served."""

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
    """Fit a logistic regression on standardised inputs, with medians and indicators for missing values.

    Returns:
        The probability of target 1 for each row of `features`, [n].
    """
    model = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True),
        StandardScaler(),
        LogisticRegression(max_iter=1000, random_state=SEED),
    )
    with warnings.catch_warnings():
        # A reference model that has not quite converged still serves for comparison.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(train.features, train.target)
    return model.predict_proba(features)[:, 1]


def gradient_boosting(train: Examples, features: np.ndarray) -> np.ndarray:
    """Fit histogram gradient boosting with its defaults; returns as `logistic_regression`."""
    model = HistGradientBoostingClassifier(random_state=SEED)
    # On a busy machine its threads wait for each other and are ten times slower than a single thread.
    with threadpool_limits(limits=1, user_api="openmp"):
        model.fit(train.features, train.target)
        return model.predict_proba(features)[:, 1]


REFERENCES = {"logistic_regression": logistic_regression, "gradient_boosting": gradient_boosting}
