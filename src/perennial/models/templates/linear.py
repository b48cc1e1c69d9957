"""Logistic and ridge regression on standardised columns, by scikit-learn."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge

from perennial.models.templates.table_pipeline import TablePipeline


class Linear(TablePipeline):
    """A weighted sum of the columns; a class has its own weights."""

    architecture = "linear/1"
    template = "linear"
    scaled = True

    @staticmethod
    def suggest(trial: Any) -> dict[str, Any]:
        return {"regularisation": trial.suggest_float("regularisation", 1e-3, 1e3, log=True)}

    def estimator(self) -> Any:
        regularisation = self.parameters["regularisation"]
        if self.task.is_number:
            return Ridge(alpha=regularisation)
        return LogisticRegression(C=1 / regularisation, max_iter=1000, random_state=self.seed)

    def finish(self, estimator: Any, encoded: np.ndarray, target: np.ndarray) -> None:
        with warnings.catch_warnings():
            # Weights that have not quite converged are judged by the gate like any others.
            warnings.simplefilter("ignore", ConvergenceWarning)
            super().finish(estimator, encoded, target)
