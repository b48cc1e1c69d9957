"""Checks of a request that hold in its REST and its gRPC form alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from perennial.errors import MalformedInput, ShapeError
from perennial.serving.answers import brief
from perennial.serving.protocol.messages import DATATYPES

MOST_SIZES = 16
"""Largest rank of a tensor."""
MOST_VALUES = 2**31
MOST_TENSORS = 4096
"""Most inputs and outputs of a request: each costs some microseconds, whatever the model takes."""
NOT_SERVED = (
    "shared_memory_region", "shared_memory_offset", "shared_memory_byte_size", "classification", "sequence_id",
)  # fmt: skip
"""Parameters of extensions that are not here. To ignore one would be a wrong answer; others are hints."""


def check_count(inputs: int, outputs: int) -> None:
    """Check the number of tensors of a request.

    Raises:
        MalformedInput: there are too many.
    """
    if inputs + outputs > MOST_TENSORS:
        raise MalformedInput(
            f"{inputs} inputs and {outputs} outputs", hint=f"at most {MOST_TENSORS} together"
        )


def check_datatype(name: str, datatype: Any) -> None:
    """Check that the datatype of a tensor is one of the protocol.

    Raises:
        ShapeError: it is none.
    """
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise ShapeError(
            f"datatype of {brief(name)} is {brief(datatype)}", hint=f"known: {', '.join(DATATYPES)}"
        )


def check_shape(name: str, shape: Sequence[int]) -> None:
    """Check the sizes of a tensor, of which a request may have millions: the first `MOST_SIZES` + 1 are looked at.

    Raises:
        ShapeError: a size is below 1, or there are too many sizes or values.
    """
    looked_at = shape[: MOST_SIZES + 1]
    if min(looked_at, default=1) < 1 or len(looked_at) > MOST_SIZES or math.prod(looked_at) > MOST_VALUES:
        raise ShapeError(
            f"shape of {brief(name)} is {brief(list(looked_at))}",
            hint=f"send sizes from 1; at most {MOST_SIZES} sizes and {MOST_VALUES} values",
        )


def refuse_extensions(parameters: Mapping[str, Any], what: str) -> None:
    """Check that a message has no parameter of an extension that is not served.

    Raises:
        MalformedInput: it has one; names it.
    """
    for name in NOT_SERVED:
        if parameters.get(name):
            raise MalformedInput(f"{what} has the parameter {name}", hint="this extension is not served")
