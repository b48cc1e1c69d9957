"""The Scorer port over ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime

from perennial.errors import ModelFileError, ShapeError

CPU = "CPUExecutionProvider"


class OnnxScorer:
    """Scores with `model.onnx` of a folder, on the CPU."""

    def score(self, folder: Path, features: np.ndarray) -> np.ndarray:
        return self.opened(folder)(features)

    def opened(self, folder: Path) -> Callable[[np.ndarray], np.ndarray]:
        session = open_session(folder / "model.onnx")
        return lambda features: _score(session, folder, features)


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
    # ONNX Runtime's exceptions share no base class of their own.
    except Exception as error:
        raise ModelFileError(
            f"{folder}/model.onnx fails on these rows: {error}", hint="export it again"
        ) from error


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """Load a model file.

    Raises:
        ModelFileError: there is no such file, or it is not an ONNX model with the agreed names.
    """
    if not path.is_file():
        raise ModelFileError(f"{path} is not there", hint="fetch the version again")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=[CPU])
    # ONNX Runtime's exceptions share no base class of their own.
    except Exception as error:
        raise ModelFileError(
            f"{path} is no model that can be loaded: {error}", hint="export it again"
        ) from error
    names = [one.name for one in session.get_inputs()], [one.name for one in session.get_outputs()]
    if names != (["features"], ["score"]):
        raise ModelFileError(
            f"{path} has inputs {names[0]} and outputs {names[1]}", hint="export `features` -> `score`"
        )
    return session
