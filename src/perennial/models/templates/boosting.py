"""Gradient boosted trees, by LightGBM and XGBoost: the number of trees is chosen on later rows."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import numpy as np

from perennial.models.base import Examples, Progress
from perennial.models.templates.table_pipeline import TablePipeline

EPOCH_TREES = 10
"""Rounds of boosting that count as an epoch of `tuning.epochs`."""
PATIENCE = 50
"""Rounds without a lower validation loss before training stops."""


class BoostedTrees(TablePipeline):
    """Trees that correct each other; a kind of task with several classes has a tree for each in every round."""

    knows_missing = True

    @staticmethod
    def suggest(trial: Any) -> dict[str, Any]:
        return {
            "learning_rate": trial.suggest_float("learning_rate", 0.02, 0.3, log=True),
            "max_depth": trial.suggest_int("max_depth", 2, 8),
            "min_child": trial.suggest_int("min_child", 1, 50, log=True),
            "row_share": trial.suggest_float("row_share", 0.5, 1.0),
            "column_share": trial.suggest_float("column_share", 0.3, 1.0),
            "l2": trial.suggest_float("l2", 1e-3, 30.0, log=True),
        }

    @abstractmethod
    def rounds(self, trees: int) -> Any:
        """Return an estimator of so many rounds."""

    @abstractmethod
    def best_of(
        self, trees: int, encoded: np.ndarray, target: np.ndarray, later: tuple[np.ndarray, np.ndarray]
    ) -> int:
        """Return the rounds, at most `trees`, after which the loss on the later rows (encoded, target) is lowest."""

    def estimator(self) -> Any:
        return self.rounds(self._trees)

    def fit(self, train: Examples, validation: Examples | None, epochs: int, progress: Progress) -> int:
        encoded, target = self.start(train)
        kept = epochs
        if validation is not None:
            # A class that the training rows lack has no loss.
            known = self.task.is_number | np.isin(validation.target, self.classes)
            if known.any():
                rows = validation.where(np.broadcast_to(known, len(validation)))
                later = self.encoded(rows.features), self.numbered(rows.target)
                best = self.best_of(epochs * EPOCH_TREES, encoded, target, later)
                kept = max(1, math.ceil(best / EPOCH_TREES))
        self._trees = kept * EPOCH_TREES
        self.finish(self.estimator(), encoded, target)
        return kept


class LightGbm(BoostedTrees):
    """Leaf-wise trees over histograms."""

    architecture = "lightgbm/1"
    framework = "lightgbm"
    template = "lightgbm"

    def rounds(self, trees: int) -> Any:
        from lightgbm import LGBMClassifier, LGBMRegressor

        given = self.parameters
        return (LGBMRegressor if self.task.is_number else LGBMClassifier)(
            n_estimators=trees,
            learning_rate=given["learning_rate"],
            max_depth=given["max_depth"],
            num_leaves=min(2 ** given["max_depth"], 63),
            min_child_samples=given["min_child"],
            subsample=given["row_share"],
            subsample_freq=1,
            colsample_bytree=given["column_share"],
            reg_lambda=given["l2"],
            random_state=self.seed,
            deterministic=True,
            force_col_wise=True,
            n_jobs=1,
            verbose=-1,
        )

    def best_of(
        self, trees: int, encoded: np.ndarray, target: np.ndarray, later: tuple[np.ndarray, np.ndarray]
    ) -> int:
        from lightgbm import early_stopping

        stop = early_stopping(PATIENCE, first_metric_only=True, verbose=False)
        fitted = self.rounds(trees).fit(encoded, target, eval_set=[later], callbacks=[stop])
        return int(fitted.best_iteration_ or trees)


class XgBoost(BoostedTrees):
    """Depth-wise trees over histograms."""

    architecture = "xgboost/1"
    framework = "xgboost"
    template = "xgboost"

    def rounds(self, trees: int, **more: Any) -> Any:
        from xgboost import XGBClassifier, XGBRegressor

        given = self.parameters
        return (XGBRegressor if self.task.is_number else XGBClassifier)(
            n_estimators=trees,
            learning_rate=given["learning_rate"],
            max_depth=given["max_depth"],
            min_child_weight=given["min_child"] / 4,
            subsample=given["row_share"],
            colsample_bytree=given["column_share"],
            reg_lambda=given["l2"],
            random_state=self.seed,
            n_jobs=1,
            verbosity=0,
            **more,
        )

    def best_of(
        self, trees: int, encoded: np.ndarray, target: np.ndarray, later: tuple[np.ndarray, np.ndarray]
    ) -> int:
        fitted = self.rounds(trees, early_stopping_rounds=PATIENCE)
        fitted.fit(encoded, target, eval_set=[later], verbose=False)
        return int(fitted.best_iteration) + 1
