"""A model that trains in no time: the chance of failure is a feature, moved by one parameter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression

from perennial.models.base import Model

UNKNOWN = 0.3


class RateModel(Model):
    """score = clip(failure_rate * slope, 0, 1); UNKNOWN where the rate is not known."""

    architecture = "rate/1"
    framework = "numpy"
    fits = 0
    """How many were fitted in this process."""

    @staticmethod
    def suggest(trial):
        return {"slope": trial.suggest_float("slope", 0.2, 0.9)}

    def fit(self, train, validation, epochs, progress):
        type(self).fits += 1
        for epoch in range(epochs):
            progress(epoch, {"train_loss": 1.0 / (epoch + 1)})
        return epochs

    def predict(self, features):
        rate = features[:, self.feature_names.index("failure_rate")]
        score = np.clip(rate * np.float32(self.parameters["slope"]), 0, 1)
        return np.where(np.isnan(rate), UNKNOWN, score).astype(np.float32)

    def export(self, path: Path) -> None:
        place = self.feature_names.index("failure_rate")
        constants = {"slope": self.parameters["slope"], "low": 0.0, "high": 1.0, "unknown": UNKNOWN}
        graph = helper.make_graph(
            [
                helper.make_node("Gather", ["features", "place"], ["rate"], axis=1),
                helper.make_node("IsNaN", ["rate"], ["missing"]),
                helper.make_node("Mul", ["rate", "slope"], ["raw"]),
                helper.make_node("Clip", ["raw", "low", "high"], ["clipped"]),
                helper.make_node("Where", ["missing", "unknown", "clipped"], ["score"]),
            ],
            "rate",
            [
                helper.make_tensor_value_info(
                    "features", TensorProto.FLOAT, ["batch", len(self.feature_names)]
                )
            ],
            [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch"])],
            [
                helper.make_tensor("place", TensorProto.INT64, [], [place]),
                *(
                    helper.make_tensor(name, TensorProto.FLOAT, [], [value])
                    for name, value in constants.items()
                ),
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 9
        onnx.save(model, str(path))

    def parameter_count(self) -> int:
        return 1


class RateOf(Model):
    """A linear function of the clipped failure rate, for every kind of task."""

    architecture = "rate-of/1"
    framework = "numpy"

    @staticmethod
    def suggest(trial):
        return {"strength": trial.suggest_float("strength", 0.5, 20.0)}

    def fit(self, train, validation, epochs, progress):
        """Fit in one go; no epoch is reported."""
        rate = self._rate(train.features)
        if self.task.output == "value":
            slope, start = np.polyfit(rate, train.target, 1)
            self.slopes, self.starts = np.array([[slope]]), np.array([start])
        else:
            linear = LogisticRegression(C=self.parameters["strength"]).fit(rate[:, None], train.target)
            self.slopes, self.starts = linear.coef_.T, linear.intercept_
        return 1

    def predict(self, features):
        raw = self._rate(features)[:, None] * self.slopes + self.starts
        if self.task.width() is not None:
            return softmax(raw, axis=1).astype(np.float32)
        return (raw if self.task.output == "value" else expit(raw))[:, 0].astype(np.float32)

    def export(self, path):
        last = {"value": "Identity", "score": "Sigmoid", "probabilities": "Softmax"}[self.task.output]
        width, output = self.task.width(), self.task.output
        wide = [helper.make_node(last, ["raw"], [output if width else "column"])]
        if width is None:
            wide.append(helper.make_node("Squeeze", ["column", "one"], [output]))
        floats = {"low": 0.0, "high": 1.0, "unknown": UNKNOWN}
        place = self.feature_names.index("failure_rate")
        graph = helper.make_graph(
            [
                helper.make_node("Gather", ["features", "place"], ["rate"], axis=1),
                helper.make_node("IsNaN", ["rate"], ["missing"]),
                helper.make_node("Where", ["missing", "unknown", "rate"], ["known"]),
                helper.make_node("Clip", ["known", "low", "high"], ["clipped"]),
                helper.make_node("Mul", ["clipped", "slopes"], ["sloped"]),
                helper.make_node("Add", ["sloped", "starts"], ["raw"]),
                *wide,
            ],
            "rate",
            [
                helper.make_tensor_value_info(
                    "features", TensorProto.FLOAT, ["batch", len(self.feature_names)]
                )
            ],
            [
                helper.make_tensor_value_info(
                    output, TensorProto.FLOAT, ["batch", width] if width else ["batch"]
                )
            ],
            [
                helper.make_tensor("place", TensorProto.INT64, [1], [place]),
                helper.make_tensor("one", TensorProto.INT64, [1], [1]),
                *(helper.make_tensor(name, TensorProto.FLOAT, [], [value]) for name, value in floats.items()),
                numpy_helper.from_array(self.slopes.astype(np.float32), "slopes"),
                numpy_helper.from_array(self.starts.astype(np.float32), "starts"),
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 9
        onnx.save(model, str(path))

    def parameter_count(self):
        return self.slopes.size + self.starts.size

    def _rate(self, features):
        rate = features[:, self.feature_names.index("failure_rate")].astype(float)
        return np.clip(np.where(np.isnan(rate), UNKNOWN, rate), 0, 1)


class ClassNumbers(RateOf):
    """A classifier that answers the numbers of its classes: no valid answer of any kind."""

    def predict(self, features):
        return super().predict(features).argmax(axis=1).astype(np.float32)
