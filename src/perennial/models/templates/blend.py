"""The weighted mean of several models, exported as one ONNX graph."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from perennial.core.training.leaderboard import MEMBERS, TEMPLATE
from perennial.models.base import Examples, Model, Progress


class Blend(Model):
    """Models with weights that add up to 1; each is fitted for its own number of epochs.

    Args:
        candidates: model classes by name.
        parameters: `members` is the JSON of a list of {weight, epochs, parameters}; these name the `template`.
    """

    architecture = "blend/1"
    framework = "onnx"

    def __init__(
        self,
        candidates: Mapping[str, type[Model]],
        feature_names: tuple[str, ...],
        parameters: Mapping[str, Any],
        *given: Any,
        **named: Any,
    ) -> None:
        super().__init__(feature_names, parameters, *given, **named)
        self.weights: list[float] = []
        self.members: list[tuple[Model, int]] = []
        for member in json.loads(parameters[MEMBERS]):
            own = dict(member["parameters"])
            kind = candidates[own.pop(TEMPLATE)]
            self.weights.append(member["weight"])
            self.members.append((kind(feature_names, own, *given, **named), member["epochs"]))

    @staticmethod
    def suggest(trial: Any) -> dict[str, Any]:
        raise NotImplementedError("a blend is chosen after a search")

    def fit(self, train: Examples, validation: Examples | None, epochs: int, progress: Progress) -> int:
        for model, own_epochs in self.members:
            model.fit(train, None, own_epochs, lambda *_: None)
        return 1

    def predict(self, features: np.ndarray) -> np.ndarray:
        weighted = [
            np.float32(weight) * model.predict(features)
            for weight, (model, _) in zip(self.weights, self.members, strict=True)
        ]
        answer = np.sum(weighted, axis=0, dtype=np.float32)
        is_score = self.task.width() is None and not self.task.is_number
        return np.asarray(np.clip(answer, 0, 1) if is_score else answer)

    def export(self, path: Path) -> None:
        nodes: list[Any] = []
        initializers: list[Any] = []
        opsets: dict[str, int] = {}
        with tempfile.TemporaryDirectory() as folder:
            for place, (model, _) in enumerate(self.members):
                file = Path(folder) / f"{place}.onnx"
                model.export(file)
                part = compose.add_prefix(onnx.load(str(file)), f"member_{place}_")
                for given in part.opset_import:
                    opsets[given.domain] = max(given.version, opsets.get(given.domain, 0))
                nodes.append(helper.make_node("Identity", ["features"], [part.graph.input[0].name]))
                nodes += part.graph.node
                initializers += part.graph.initializer
                weight = numpy_helper.from_array(
                    np.float32(self.weights[place]).reshape(()), f"weight_{place}"
                )
                initializers.append(weight)
                answer = part.graph.output[0].name
                nodes.append(helper.make_node("Mul", [answer, f"weight_{place}"], [f"weighted_{place}"]))
        nodes += self._last(initializers)
        self._save(nodes, initializers, opsets, path)

    def parameter_count(self) -> int:
        return sum(model.parameter_count() for model, _ in self.members)

    def _last(self, initializers: list[Any]) -> list[Any]:
        output, width = self.task.output, self.task.width()
        weighted = [f"weighted_{place}" for place in range(len(self.members))]
        if width is not None or self.task.is_number:
            return [helper.make_node("Sum", weighted, [output])]
        for name, value in (("zero", 0.0), ("one", 1.0)):
            initializers.append(numpy_helper.from_array(np.array(value, dtype=np.float32), name))
        summed = helper.make_node("Sum", weighted, ["summed"])
        return [summed, helper.make_node("Clip", ["summed", "zero", "one"], [output])]

    def _save(self, nodes: list[Any], initializers: list[Any], opsets: Mapping[str, int], path: Path) -> None:
        shape = ["batch", len(self.feature_names)]
        answer = ["batch", *([self.task.width()] if self.task.width() else [])]
        graph = helper.make_graph(
            nodes,
            "blend",
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(self.task.output, TensorProto.FLOAT, answer)],
            initializers,
        )
        imports = [helper.make_opsetid(domain, version) for domain, version in sorted(opsets.items())]
        file = helper.make_model(graph, opset_imports=imports, ir_version=10, producer_name="perennial")
        onnx.checker.check_model(file)
        onnx.save(file, str(path))
