"""The recipe of a variant that TensorRT runs: the file of the parent, as an engine of this machine's GPU."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from perennial.adapters.variants.conversions import refuse_without_products
from perennial.core.training.variants import NotMade, Recipe
from perennial.errors import PerennialError
from perennial.serving.onnx import TENSORRT, Execution, gpu_name, open_session, refuse_absent


def tensorrt(engines: Path) -> Recipe:
    """Return the recipe; its file is that of the parent, and its manifest says that TensorRT alone may run it.

    Args:
        engines: folder that keeps the engines.
    """

    def make(parent: Path, rows: np.ndarray, path: Path) -> None:
        try:
            refuse_absent(TENSORRT)
            refuse_without_products(onnx.load(str(parent)))
            gpu_name()
            # Builds the engine, and refuses a session that would run on the CPU.
            open_session(parent.read_bytes(), parent, Execution(TENSORRT, engines))
        except PerennialError as error:
            raise NotMade(f"{error.message} ({error.hint})") from error
        shutil.copyfile(parent, path)

    settings = {"onnxruntime": onnxruntime.__version__, "precision": "fp16"}
    return Recipe("tensorrt", settings, convert=make, provider=TENSORRT)
