"""A model is imported whose inputs are a column each: a text or an array is refused in words."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from perennial.core.input_spec import InputKind, InputSpec, columns_of
from perennial.core.training.imported import Description, TakenInput
from perennial.errors import ModelFileError
from perennial.flows.evaluation import import_model


@pytest.mark.parametrize(
    "several",
    [InputSpec(type="array", missing="refuse", size=3), InputSpec(type="text", missing="refuse", buckets=16)],
)
def test_an_input_of_several_columns_is_refused(several):
    inputs = {"price": InputSpec(type="float", missing="refuse"), "words": several}
    features = SimpleNamespace(inputs=inputs, names=columns_of(inputs))
    taken = tuple(TakenInput(name, InputKind.FLOAT, 1) for name in inputs)
    described = Description("onnx", "none", "Net", taken)
    with pytest.raises(ModelFileError, match="inputs of several columns: words"):
        import_model._inputs(
            SimpleNamespace(name="m", features=features), described, SimpleNamespace(inputs=())
        )
