"""A random forest, by scikit-learn."""

from __future__ import annotations

from typing import Any

from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from perennial.models.templates.table_pipeline import TablePipeline

TREES = 200


class Forest(TablePipeline):
    """The mean of trees over resampled rows.

    Missing numbers are filled in: the export of trees that split on missing values answers wrongly (skl2onnx 1.20).
    """

    architecture = "forest/1"
    template = "forest"

    @staticmethod
    def suggest(trial: Any) -> dict[str, Any]:
        return {
            "max_features": trial.suggest_float("max_features", 0.1, 1.0),
            "min_samples_leaf": trial.suggest_int("min_samples_leaf", 1, 32, log=True),
            "max_depth": trial.suggest_int("max_depth", 4, 20),
        }

    def estimator(self) -> Any:
        kind = RandomForestRegressor if self.task.is_number else RandomForestClassifier
        return kind(TREES, n_jobs=1, random_state=self.seed, **self.parameters)
