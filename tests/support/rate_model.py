"""A model that trains in no time: the chance of failure is a feature, moved by one parameter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

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
