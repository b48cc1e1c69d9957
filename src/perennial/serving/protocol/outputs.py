"""Make the output tensors of a response of the answers of a model: the model file's own, and those that follow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from perennial.errors import ShapeError
from perennial.serving.answers import brief
from perennial.serving.manifest import ServedManifest
from perennial.serving.protocol.messages import RequestedOutput, Tensor, TensorMetadata

_DATATYPES = {"f": ("FP32", np.float32), "i": ("INT64", np.int64), "U": ("BYTES", np.object_)}


def outputs_of(
    manifest: ServedManifest, scores: np.ndarray, wanted: Sequence[RequestedOutput]
) -> tuple[Tensor, ...]:
    """Return the requested outputs in their order; the model file's own where none is requested.

    Args:
        scores: float32 [n] or [n, k].
    """
    own = Tensor(manifest.output, "FP32", scores.shape, scores)
    if not wanted:
        return (own,)
    known = {own.name: own}
    if any(output.name != own.name for output in wanted):
        known |= {name: _tensor(name, values) for name, values in manifest.task.derived(scores).items()}
    return tuple(known[output.name] for output in wanted)


def check_outputs(manifest: ServedManifest, wanted: Sequence[RequestedOutput]) -> None:
    """Check the requested outputs before the model runs.

    Raises:
        ShapeError: an output is unknown, or requested twice.
    """
    if not wanted or (len(wanted) == 1 and wanted[0].name == manifest.output):
        return
    names = [output.name for output in wanted]
    known = [output.name for output in output_metadata(manifest)]
    if not set(names) <= set(known) or len(set(names)) != len(names):
        raise ShapeError(
            f"the requested outputs are {brief(names)}", hint=f"each at most once of: {', '.join(known)}"
        )


def output_metadata(manifest: ServedManifest) -> tuple[TensorMetadata, ...]:
    """Return all outputs that a request may ask for; the first is the answer where it asks for none."""
    task = manifest.task
    width = task.width()
    own = TensorMetadata(manifest.output, "FP32", (-1,) if width is None else (-1, width))
    # An example shows the types and sizes, so that no kind of task has to state them a second time.
    example = np.zeros((1,) if width is None else (1, width), dtype=np.float32)
    further = (_tensor(name, values) for name, values in task.derived(example).items())
    return (own, *(TensorMetadata(each.name, each.datatype, (-1, *each.shape[1:])) for each in further))


def _tensor(name: str, values: np.ndarray) -> Tensor:
    datatype, kind = _DATATYPES[values.dtype.kind]
    if datatype == "BYTES":
        values = np.array([text.encode() for text in values.tolist()], dtype=kind)
    return Tensor(name, datatype, values.shape, values.astype(kind, copy=False))
