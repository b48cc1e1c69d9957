"""The Scorer port over ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime

from perennial.errors import ModelFileError, ShapeError
from perennial.serving.onnx import open_session


class OnnxScorer:
    """Scores with `model.onnx` of a folder, on the CPU."""

    def score(self, folder: Path, features: np.ndarray) -> np.ndarray:
        return self.opened(folder)(features)

    def opened(self, folder: Path) -> Callable[[np.ndarray], np.ndarray]:
        session = _open(folder / "model.onnx")
        return lambda features: _score(session, folder, features)


def _open(path: Path) -> onnxruntime.InferenceSession:
    if not path.is_file():
        raise ModelFileError(f"{path} is not there", hint="fetch the version again")
    session = open_session(path)
    inputs = [node.name for node in session.get_inputs()]
    outputs = [node.name for node in session.get_outputs()]
    if (inputs, outputs) != (["features"], ["score"]):
        raise ModelFileError(
            f"{path} has inputs {inputs} and outputs {outputs}", hint="export `features` -> `score`"
        )
    return session


def _score(session: onnxruntime.InferenceSession, folder: Path, features: np.ndarray) -> np.ndarray:
    expected = session.get_inputs()[0].shape[1]
    if features.ndim != 2 or features.shape[1] != expected:
        raise ShapeError(
            f"{folder}/model.onnx takes [batch, {expected}], not {list(features.shape)}",
            hint="give the features that its manifest names, in that order",
        )
    rows = np.ascontiguousarray(features, dtype=np.float32)
    try:
        return session.run(["score"], {"features": rows})[0]
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise ModelFileError(
            f"{folder}/model.onnx fails on these rows: {error}", hint="export it again"
        ) from error
