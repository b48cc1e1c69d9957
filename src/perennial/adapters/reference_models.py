"""Reference models of scikit-learn to compare a model with; they are never served."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from perennial.core.tasks import Regression, Task
from perennial.core.training.examples import Examples
from perennial.ports import Reference

SEED = 0


def logistic_regression(task: Task, train: Examples, features: np.ndarray) -> np.ndarray:
    """Fit a logistic regression on standardised inputs, with medians and indicators for missing values.

    Returns:
        The probability of target 1 for each row of `features`, [n], or of each class, [n, k].
    """
    model = make_pipeline(*_standardised(), LogisticRegression(max_iter=1000, random_state=SEED))
    with warnings.catch_warnings():
        # A reference model that has not quite converged still serves for comparison.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(train.features, train.target)
    return _probabilities(task, model, features)


def linear_regression(task: Task, train: Examples, features: np.ndarray) -> np.ndarray:
    """Fit a ridge regression on inputs as for `logistic_regression`; returns the values, [n]."""
    return make_pipeline(*_standardised(), Ridge()).fit(train.features, train.target).predict(features)


def gradient_boosting(task: Task, train: Examples, features: np.ndarray) -> np.ndarray:
    """Fit histogram gradient boosting with its defaults; returns as the linear models."""
    regression = isinstance(task, Regression)
    kind = HistGradientBoostingRegressor if regression else HistGradientBoostingClassifier
    model = kind(random_state=SEED)
    # On a busy machine its threads wait for each other and are ten times slower than a single thread.
    with threadpool_limits(limits=1, user_api="openmp"):
        model.fit(train.features, train.target)
        return model.predict(features) if regression else _probabilities(task, model, features)


def references(task: Task) -> dict[str, Reference]:
    """Return the reference models of a kind of task by name."""
    if task.windows is not None:  # its baselines are the naive forecasts
        return {}
    if isinstance(task, Regression):
        return {"linear_regression": linear_regression, "gradient_boosting": gradient_boosting}
    return {"logistic_regression": logistic_regression, "gradient_boosting": gradient_boosting}


def _standardised() -> tuple[SimpleImputer, StandardScaler]:
    return SimpleImputer(strategy="median", add_indicator=True), StandardScaler()


def _probabilities(task: Task, model: Any, features: np.ndarray) -> np.ndarray:
    known = model.predict_proba(features)
    width = task.width()
    if width is None:
        return known[:, 1]
    answer = np.zeros((len(features), width))
    answer[:, model.classes_.astype(int)] = known  # a class without training rows keeps 0
    return answer
