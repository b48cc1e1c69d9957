"""Read the weights of a known architecture from a safetensors file, which holds nothing but arrays.

The platform's own table network is known: the sizes of its layers follow from the shapes of its arrays, so the file
needs no configuration beside them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from perennial.core.input_spec import InputSpec
from perennial.core.tasks import Task
from perennial.core.training.imported import Description, TakenInput
from perennial.errors import ModelFileError, SettingsError

TABLE_NETWORK = "table-network/1"
CHOSEN = {"dropout": 0.0, "learning_rate": 0.0, "weight_decay": 0.0}
"""Parameters of a training, which the weights do not hold and an answer does not need."""


class SafetensorsModel:
    """A network as a safetensors file.

    Raises:
        ModelFileError: the file is damaged, or its arrays are not those of a known architecture.
        SettingsError: PyTorch is not installed.
    """

    def __init__(self, path: Path) -> None:
        try:
            from safetensors import SafetensorError
            from safetensors.torch import load_file
        except ImportError as error:
            raise SettingsError(
                f"a safetensors file needs {error.name}", hint="pip install 'perennial[safetensors,torch]'"
            ) from error
        self._path = path
        try:
            self._arrays: dict[str, Any] = load_file(path)
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise ModelFileError(f"{path} is no safetensors file: {error}", hint="write it again") from error
        arrays = self._arrays
        needed = ("encoder.low", "encoder.numbers", "encoder.codes", "mean", "deviation")
        bodies = sorted({int(name.split(".")[1]) for name in arrays if name.startswith("body.")})
        if not all(name in arrays for name in needed) or not bodies or arrays["encoder.low"].ndim != 2:
            raise ModelFileError(
                f"{path}: its arrays are those of no known architecture ({', '.join(sorted(arrays)[:5])}, ...)",
                hint=f"known: {TABLE_NETWORK} (`perennial.models.templates.table_network`); else export to ONNX",
            )
        self._bodies = bodies
        self._width = int(arrays["encoder.numbers"].numel() + arrays["encoder.codes"].numel())

    def describe(self) -> Description:
        taken = (TakenInput("features", None, self._width),)
        return Description("safetensors", "pytorch", TABLE_NETWORK, taken)

    def convert(
        self, inputs: Mapping[str, InputSpec], features: np.ndarray, task: Task
    ) -> tuple[bytes, dict[str, np.ndarray]]:
        """Return the network as ONNX, and what the network itself answers; see `OnnxModel.convert`.

        Raises:
            ModelFileError: the arrays do not fit the task or the inputs.
        """
        from perennial.models.templates.table_network import TableNetwork

        model = TableNetwork(tuple(inputs), CHOSEN, 0, task, dict(inputs))
        model.network = self._network(task)
        with tempfile.TemporaryDirectory() as folder:
            model.export(Path(folder) / "model.onnx")
            content = (Path(folder) / "model.onnx").read_bytes()
        return content, {task.output: model.predict(features)}

    def _network(self, task: Task) -> Any:
        import torch

        from perennial.models.tabular_network import Encoder
        from perennial.models.templates.table_network import TaskNetwork

        arrays, outputs = self._arrays, task.width() or 1
        last = arrays[f"body.{self._bodies[-1]}.weight"]
        if int(last.shape[-1]) != outputs:
            raise ModelFileError(
                f"{self._path} has {int(last.shape[-1])} outputs, the task {task.kind} needs {outputs}",
                hint="correct `task` in the spec, or --task",
            )
        numbers = arrays["encoder.numbers"].long().tolist()
        codes = arrays["encoder.codes"].long().tolist()
        if sorted([*numbers, *codes]) != list(range(self._width)):
            raise ModelFileError(
                f"{self._path}: its columns are not 0 to {self._width - 1}", hint="write it again"
            )
        bins = int(arrays["encoder.low"].shape[1])
        cards = [int(arrays[f"encoder.embeddings.{place}.weight"].shape[0]) - 1 for place in range(len(codes))
                 if f"encoder.embeddings.{place}.weight" in arrays]  # fmt: skip
        edges = np.zeros((len(numbers), bins + 1), dtype=np.float32)
        encoder = Encoder(numbers, edges, np.zeros((1, len(numbers)), np.float32), codes, cards)
        if "encoder.shift" in arrays:
            encoder.shift = torch.zeros(len(numbers))
        width = int(arrays[f"body.{self._bodies[0]}.weight"].shape[-1])
        network = TaskNetwork(encoder, task, np.array([0.0, 1.0]), width, len(self._bodies) - 1, 0.0)
        try:
            network.load_state_dict(arrays, strict=True)
        except RuntimeError as error:
            raise ModelFileError(
                f"{self._path} does not fit {TABLE_NETWORK}: {str(error).splitlines()[-1].strip()[:200]}",
                hint="write the state of a TaskNetwork",
            ) from error
        return network.eval()
