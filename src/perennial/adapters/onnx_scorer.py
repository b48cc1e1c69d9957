"""The Scorer port over ONNX Runtime."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime

from perennial.core.tasks import Forecast, Multiclass, Ranking, Regression
from perennial.errors import ModelFileError, ShapeError
from perennial.serving.onnx import ON_CPU, Execution, open_session

OUTPUTS = frozenset({Ranking.output, Multiclass.output, Regression.output, Forecast.output})
SECONDS = 120.0
"""Time that one call may take."""


class OnnxScorer:
    """Scores with `model.onnx` of a folder.

    Args:
        problem: says in a child process what is wrong with the bytes of a model file (`model_probe`); by default no
            file is tried, for files that this process exported itself.
        seconds: time after which a call is ended.
        execution: provider; figures of versions come from the CPU.
    """

    def __init__(
        self,
        problem: Callable[[bytes], str] = lambda model: "",
        seconds: float = SECONDS,
        execution: Execution = ON_CPU,
    ) -> None:
        self._problem = problem
        self._execution = execution
        self._seconds = seconds

    def score(self, folder: Path, features: np.ndarray) -> np.ndarray:
        return self.opened(folder)(features)

    def opened(self, folder: Path) -> Callable[[np.ndarray], np.ndarray]:
        session = self._open(folder / "model.onnx")
        return lambda features: _score(session, folder, features, self._seconds)

    def _open(self, path: Path) -> onnxruntime.InferenceSession:
        if not path.is_file():
            raise ModelFileError(f"{path} is not there", hint="fetch the version again")
        model = path.read_bytes()
        if problem := self._problem(model):
            raise ModelFileError(f"{path} {problem}", hint="export it with other operators, or smaller")
        session = open_session(model, path, self._execution)
        inputs = [node.name for node in session.get_inputs()]
        outputs = [node.name for node in session.get_outputs()]
        if inputs != ["features"] or len(OUTPUTS & set(outputs)) != 1:
            raise ModelFileError(
                f"{path} has inputs {inputs} and outputs {outputs}",
                hint=f"export `features` -> one of {', '.join(sorted(OUTPUTS))}, as the kind of task says",
            )
        return session


def _score(
    session: onnxruntime.InferenceSession, folder: Path, features: np.ndarray, seconds: float
) -> np.ndarray:
    expected = session.get_inputs()[0].shape[1]
    if features.ndim != 2 or features.shape[1] != expected:
        raise ShapeError(
            f"{folder}/model.onnx takes [batch, {expected}], not {list(features.shape)}",
            hint="give the features that its manifest names, in that order",
        )
    rows = np.ascontiguousarray(features, dtype=np.float32)
    options = onnxruntime.RunOptions()
    # ONNX Runtime looks at this mark between two operators.
    timer = threading.Timer(seconds, lambda: setattr(options, "terminate", True))
    timer.daemon = True
    timer.start()
    try:
        output = next(node.name for node in session.get_outputs() if node.name in OUTPUTS)
        return session.run([output], {"features": rows}, options)[0]
    except Exception as error:  # onnxruntime's exceptions share no base class
        reason = f"does not end within {seconds:g} s" if options.terminate else "fails"
        raise ModelFileError(
            f"{folder}/model.onnx {reason} on these rows: {error}", hint="export it again"
        ) from error
    finally:
        timer.cancel()
