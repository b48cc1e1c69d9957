"""Read a skops file in a child process with limits; skl2onnx converts it there."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from perennial.core.input_spec import InputSpec
from perennial.core.tasks import Task
from perennial.core.training.imported import Description, TakenInput
from perennial.errors import ModelFileError
from perennial.model_probe import bare_environment

MEMORY_BYTES = 4 << 30
"""Address space of the child: scikit-learn and its libraries alone take about 1.5 GiB of it."""
CPU_SECONDS, WALL_SECONDS = 60, 120.0
CHILD = "perennial.adapters.importing.skops_child"


class SkopsModel:
    """A model of scikit-learn as a skops file.

    Args:
        trust: types that a person accepts although skops does not (`skops_child.KNOWN_TYPES`).

    Raises:
        ModelFileError: the file needs other untrusted types, or cannot be read within the limits.
    """

    def __init__(self, path: Path, trust: tuple[str, ...] = ()) -> None:
        self._path, self._trust = path, trust
        self._said = self._ask(None, None)

    def describe(self) -> Description:
        said = self._said
        names = None if said["names"] is None else tuple(said["names"])
        if said["by_name"]:
            # The type of a column is not in the file: the holdout decides, and skl2onnx refuses what does not fit.
            taken = tuple(TakenInput(name, None, 1) for name in names or ())
        else:
            taken = (TakenInput("X", None, said["width"]),)
        classes = None if said["classes"] is None else tuple(said["classes"])
        made = f"imported/{said['type']}"
        return Description("skops", "scikit-learn", made, taken, names, classes, typed=False)

    def convert(
        self, inputs: Mapping[str, InputSpec], features: np.ndarray, task: Task
    ) -> tuple[bytes, dict[str, np.ndarray]]:
        """Return the model as ONNX, and what the model itself answers; see `OnnxModel.convert`."""
        said = self._ask({name: list(spec.categories) for name, spec in inputs.items()}, features)
        return base64.b64decode(said["onnx"]), {said["output"]: np.array(said["answers"], dtype=float)}

    def _ask(self, inputs: dict[str, list[str]] | None, features: np.ndarray | None) -> dict[str, Any]:
        request = {
            "path": str(self._path.resolve()),
            "trust": self._trust,
            "inputs": inputs,
            "by_name": inputs is not None and self._said["by_name"],
        }
        body = io.BytesIO()
        body.write(json.dumps(request).encode() + b"\n")
        if features is not None:
            np.save(body, features, allow_pickle=False)
        command = (sys.executable, "-m", CHILD, str(MEMORY_BYTES), str(CPU_SECONDS))
        try:
            done = subprocess.run(
                command, env=bare_environment(), input=body.getvalue(), capture_output=True,
                timeout=WALL_SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise _refused(f"is not read within {WALL_SECONDS:g} s") from None
        lines = done.stdout.decode(errors="replace").splitlines()
        if done.returncode or not lines:
            why = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["a crash"]
            raise _refused(f"ended the process that read it: {why[0][:200]}")
        said: dict[str, Any] = json.loads(lines[-1])
        if problem := said.get("problem"):
            raise _refused(problem, said.get("hint", ""))
        return said


def _refused(why: str, hint: str = "") -> ModelFileError:
    return ModelFileError(f"the skops file {why}", hint=hint or "export the model as ONNX instead")
