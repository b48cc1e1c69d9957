"""The base of templates over estimators with scikit-learn's interface: columns, training, one ONNX graph.

Columns are encoded by scikit-learn alone, so that skl2onnx exports encoder and estimator as one graph: a category is a
0 or 1 for each of its values (all 0 for a missing one), and where the estimator knows no missing values, a number gets
its median and a column that says whether it was known.
"""

from __future__ import annotations

import importlib.util
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Binarizer, OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from perennial.core.input_spec import InputKind
from perennial.core.training.templates import extra_of
from perennial.errors import ModelError, PackageMissing
from perennial.models.base import Examples, Model, Progress

REACH = 10.0
"""Values further outside the training range than so many times its length count as that far: answers stay finite."""
MISSING_CODE, MISSING_NUMBER = -1.0, -3e38
"""Placeholders in a step of the encoding, below every code and every bounded number."""


class TablePipeline(Model):
    """A pipeline of encoder and estimator. A subclass names its `template` and makes the estimator."""

    framework = "sklearn"
    template: ClassVar[str]
    """Name in `core.training.templates`, which knows the packages that it needs."""
    scaled: ClassVar[bool] = False
    """Numbers are standardised."""
    knows_missing: ClassVar[bool] = False
    """The estimator handles missing values itself, and its export does too."""
    pipeline: Pipeline | None = None

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        packages, extra = extra_of(self.template)
        missing = [name for name in packages if importlib.util.find_spec(name) is None]
        if missing:
            raise PackageMissing(
                f"the template {self.template} needs {', '.join(missing)}, not installed here",
                hint=f"pip install 'perennial[{extra}]'",
            )

    @abstractmethod
    def estimator(self) -> Any:
        """Return a new estimator with the parameters and the seed: a classifier, or a regressor where
        `task.is_number`. It must have a converter of skl2onnx or onnxmltools."""

    def fit(self, train: Examples, validation: Examples | None, epochs: int, progress: Progress) -> int:
        """Fit once: there are no epochs."""
        encoded, target = self.start(train)
        self.finish(self.estimator(), encoded, target)
        return 1

    def start(self, train: Examples) -> tuple[np.ndarray, np.ndarray]:
        """Fit the encoder; return the encoded rows, and the targets as the estimator takes them.

        Raises:
            DataError: all rows have the same target.
        """
        train.refuse_one_target()
        self.classes = np.unique(train.target)
        self.low, self.high = _bounds(train.features)
        self._encoder = self._columns(train.features)
        encoded = self._encoder.fit_transform(self._bounded(train.features))
        return encoded, self.numbered(train.target)

    def numbered(self, target: np.ndarray) -> np.ndarray:
        """Return targets as numbers, or as places among the classes of the training rows."""
        return target.astype(float) if self.task.is_number else np.searchsorted(self.classes, target)

    def encoded(self, features: np.ndarray) -> np.ndarray:
        """Return rows as the estimator takes them."""
        encoded: np.ndarray = self._encoder.transform(self._bounded(features))
        return encoded

    def finish(self, estimator: Any, encoded: np.ndarray, target: np.ndarray) -> None:
        """Fit the estimator and keep the pipeline.

        Raises:
            ModelError: the estimator is known not to export.
        """
        if isinstance(estimator, HistGradientBoostingClassifier | HistGradientBoostingRegressor):
            raise ModelError(
                f"{type(estimator).__name__} cannot be exported to ONNX with the pinned skl2onnx",
                hint="use the template lightgbm, which grows the same kind of trees",
            )
        # On a busy machine threads wait for each other over small tables.
        with threadpool_limits(limits=1):
            estimator.fit(encoded, target)
        self.pipeline = Pipeline([("encoder", self._encoder), ("estimator", estimator)])

    def predict(self, features: np.ndarray) -> np.ndarray:
        pipeline, rows = self.fitted(), self._bounded(features)
        with threadpool_limits(limits=1):
            if self.task.is_number:
                return np.asarray(pipeline.predict(rows), dtype=np.float32).reshape(-1)
            known = np.asarray(pipeline.predict_proba(rows)) @ self._spread()
        answer = known if self.task.width() is not None else np.clip(known[:, 0], 0, 1)
        return answer.astype(np.float32)

    def export(self, path: Path) -> None:
        from perennial.models.templates.onnx_export import export_pipeline

        spread = None if self.task.is_number else self._spread()
        export_pipeline(self.fitted(), path, self.task, (self.low, self.high), spread)

    def parameter_count(self) -> int:
        from perennial.models.templates.onnx_export import learnt_numbers

        return learnt_numbers(self.fitted(), len(self.feature_names))

    def native(self) -> Any:
        return self.fitted()

    def fitted(self) -> Pipeline:
        """Return the pipeline of the last fit."""
        if self.pipeline is None:
            raise RuntimeError("the model is not fitted yet")
        return self.pipeline

    def _bounded(self, features: np.ndarray) -> np.ndarray:
        return np.clip(np.asarray(features, dtype=np.float32), self.low, self.high)

    def _spread(self) -> np.ndarray:
        """Return [classes of the training rows, answers]: the class of each column, or the positive class."""
        width = self.task.width()
        columns = self.classes.astype(int)
        if width is None:
            return (columns == 1).astype(np.float32)[:, None]
        spread = np.zeros((len(columns), width), dtype=np.float32)
        spread[np.arange(len(columns)), columns] = 1
        return spread

    def _columns(self, features: np.ndarray) -> ColumnTransformer:
        codes = {
            place: np.arange(float(len(self.inputs[name].categories)))
            for place, name in enumerate(self.feature_names)
            if name in self.inputs and self.inputs[name].type is InputKind.CATEGORY
        }
        # A column without any known value has no median, and tells nothing.
        known = ~np.isnan(features).all(axis=0)
        numbers = [place for place in range(features.shape[1]) if place not in codes and known[place]]
        holes = [place for place in numbers if np.isnan(features[:, place]).any()]
        parts: list[tuple[str, Any, list[int]]] = []
        if numbers:
            parts.append(("numbers", self._numbers(), numbers))
        if holes and not self.knows_missing:
            known = Binarizer(threshold=MISSING_NUMBER / 2)
            parts.append(("known", make_pipeline(_filled(MISSING_NUMBER), known), holes))
        if codes:
            one_hot = OneHotEncoder(
                categories=list(codes.values()),
                handle_unknown="ignore",
                sparse_output=False,
                dtype=np.float32,
            )
            parts.append(("categories", make_pipeline(_filled(MISSING_CODE), one_hot), list(codes)))
        return ColumnTransformer(parts, sparse_threshold=0)

    def _numbers(self) -> Any:
        if self.knows_missing:
            return "passthrough"
        steps = [SimpleImputer(strategy="median"), *([StandardScaler()] if self.scaled else [])]
        return make_pipeline(*steps)


def _filled(value: float) -> SimpleImputer:
    return SimpleImputer(strategy="constant", fill_value=value)


def _bounds(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and highest value per column that counts as itself, float32 [features]."""
    known = ~np.isnan(features).all(axis=0)
    safe = np.where(known, features, 0.0).astype(float)
    low, high = np.nanmin(safe, axis=0), np.nanmax(safe, axis=0)
    margin = REACH * np.maximum(high - low, 1.0)
    largest = float(np.finfo(np.float32).max) / 4
    return (
        np.clip(low - margin, -largest, largest).astype(np.float32),
        np.clip(high + margin, -largest, largest).astype(np.float32),
    )
