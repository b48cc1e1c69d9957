"""Recipes that convert a model file: half precision, and integers with dynamic or static ranges.

Only the operators that multiply matrices are converted. They have nearly all weights and take most of the time, while
the encoding of the inputs before them needs the range and the precision of float32.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from perennial.core.training.variants import NotMade, Recipe

PRODUCTS = ("MatMul", "Gemm", "Conv")
DYNAMIC = ("MatMul", "Gemm")
"""Products with integers whose ranges are found at run time; a convolution has no such form for signed weights."""
LEAST_SHARE = 0.1
"""Share of the bytes of a model that must be weights to multiply by: beside trees lies the encoding of the inputs."""
CALIBRATION_ROWS = 512
CALIBRATION_BATCH = 64
SEED = 7
LARGEST_HALF = float(np.finfo(np.float16).max)


def conversions() -> list[Recipe]:
    """Return the recipes in the order to show."""
    libraries = {"onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__}
    calibration = {"rows": CALIBRATION_ROWS, "seed": SEED}
    return [
        Recipe("fp16", libraries, convert=_of(PRODUCTS, _half)),
        Recipe("int8-dynamic", libraries, convert=_of(DYNAMIC, _dynamic)),
        Recipe("int8-static", {**libraries, **calibration}, convert=_of(PRODUCTS, _static)),
    ]


def refuse_without_products(model: onnx.ModelProto, kinds: tuple[str, ...] = PRODUCTS) -> None:
    """Check that a model has something to convert.

    Raises:
        NotMade: hardly any of it are weights to multiply by, as of trees; names the operators that it has.
    """
    named = {model.graph.node[place].input[1] for place in _products(model, kinds)}
    share = (
        sum(tensor.ByteSize() for tensor in model.graph.initializer if tensor.name in named)
        / model.ByteSize()
    )
    if share < LEAST_SHARE:
        used = Counter({node.op_type: node.ByteSize() for node in model.graph.node}).most_common(3)
        raise NotMade(
            f"{share:.1%} of its bytes are weights to multiply by ({', '.join(kinds)}), and only these have another "
            f"form; its largest operators: {', '.join(name for name, _ in used)}"
        )


Convert = Callable[[onnx.ModelProto, np.ndarray, Path], None]


def _of(kinds: tuple[str, ...], convert: Convert) -> Callable[[Path, np.ndarray, Path], None]:
    """Return the recipe: load, check, convert; what the libraries cannot convert is `NotMade` with their reason."""

    def make(parent: Path, rows: np.ndarray, path: Path) -> None:
        model = onnx.load(str(parent))
        refuse_without_products(model, kinds)
        # Shapes that an exporter has noted for its own batch contradict those of integers.
        del model.graph.value_info[:]
        try:
            with _without_advice():
                convert(model, rows, path)
        except Exception as error:  # these libraries raise whatever they meet
            first = (str(error).splitlines() or [""])[0][:200]
            raise NotMade(f"it cannot be converted: {type(error).__name__}: {first}") from error

    return make


@contextmanager
def _without_advice() -> Iterator[None]:
    """Silence the advice to run the pre-processing, which fuses operators to some that a server refuses."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _dynamic(model: onnx.ModelProto, rows: np.ndarray, path: Path) -> None:
    quantize_dynamic(model, path, op_types_to_quantize=list(DYNAMIC), weight_type=QuantType.QInt8)


def _static(model: onnx.ModelProto, rows: np.ndarray, path: Path) -> None:
    random = np.random.default_rng(SEED)
    chosen = rows[np.sort(random.permutation(len(rows))[:CALIBRATION_ROWS])]
    quantize_static(
        model,
        path,
        _Rows(chosen, model.graph.input[0].name),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=list(PRODUCTS),
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


class _Rows(CalibrationDataReader):
    """Batches of rows for the calibration."""

    def __init__(self, rows: np.ndarray, name: str) -> None:
        starts = range(0, len(rows), CALIBRATION_BATCH)
        self._batches = iter(
            [{name: np.ascontiguousarray(rows[start : start + CALIBRATION_BATCH])} for start in starts]
        )

    def get_next(self) -> dict[str, np.ndarray] | None:  # type: ignore[override]
        return next(self._batches, None)


def _half(model: onnx.ModelProto, rows: np.ndarray, path: Path) -> None:
    """Let each product work in float16: cast its input, keep its weights as float16, cast its output back.

    ONNX Runtime's own converter rounds every tensor between the other operators as well, so that an input above
    65504 becomes infinite before it is scaled.
    """
    graph = model.graph
    constant = {tensor.name: tensor for tensor in graph.initializer}
    halves: dict[str, str] = {}
    nodes: list[onnx.NodeProto] = []
    products = set(_products(model, PRODUCTS))
    for number, node in enumerate(graph.node):
        if number not in products:
            nodes.append(node)
            continue
        for place, name in enumerate(node.input):
            if not name:
                continue
            half = f"{name}_half_{number}"
            if name in constant:
                half = halves.setdefault(name, f"{name}_half")
            else:
                nodes.append(helper.make_node("Cast", [name], [half], to=TensorProto.FLOAT16))
            node.input[place] = half
        full, node.output[0] = node.output[0], f"{node.output[0]}_half"
        nodes += [node, helper.make_node("Cast", [node.output[0]], [full], to=TensorProto.FLOAT)]
    for name, half in halves.items():
        values = numpy_helper.to_array(constant[name])
        if np.abs(values).max(initial=0.0) > LARGEST_HALF:
            raise NotMade(f"the weights {name} are above {LARGEST_HALF:g}, the largest number of float16")
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float16), half))
    kept = [node.SerializeToString() for node in nodes]
    del graph.node[:]
    graph.node.extend(onnx.NodeProto.FromString(content) for content in kept)
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    initialisers = [tensor for tensor in graph.initializer if tensor.name in used]
    contents = [tensor.SerializeToString() for tensor in initialisers]
    del graph.initializer[:]
    graph.initializer.extend(TensorProto.FromString(content) for content in contents)
    onnx.save(model, str(path))


def _products(model: onnx.ModelProto, kinds: tuple[str, ...]) -> list[int]:
    """Return the places of the nodes that multiply by float32 weights of the file."""
    weights = {tensor.name for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT}
    return [
        place
        for place, node in enumerate(model.graph.node)
        if node.op_type in kinds and len(node.input) > 1 and node.input[1] in weights
    ]
