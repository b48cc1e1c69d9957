"""Inputs that a caller sends: one encoding, and no silent cast."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from pydantic import ValidationError

from perennial.core.input_encoding import encode
from perennial.core.input_spec import InputSpec
from perennial.errors import MalformedInput

NUMBER = InputSpec(type="float", missing="allow")
INPUTS = {
    "size": NUMBER,
    "count": InputSpec(type="int", missing="refuse"),
    "open": InputSpec(type="bool", missing="allow"),
    "colour": InputSpec(type="category", missing="allow", categories=("red", "green"), unknown="missing"),
    "since": InputSpec(type="timestamp", missing="allow"),
}
ROW = {"size": 1.5, "count": 3, "open": True, "colour": "green", "since": "1970-01-02T12:00:00Z"}


def encoded(**changes):
    return encode(INPUTS, {name: [value] for name, value in (ROW | changes).items()}, 1)[0].tolist()


def test_each_type_has_its_number():
    assert encoded() == [1.5, 3.0, 1.0, 1.0, 1.5]
    assert encoded(since=datetime(1970, 1, 3, tzinfo=UTC))[4] == 2.0


def test_missing_and_unknown_are_what_the_spec_says():
    row = encoded(size=None, open=None, colour="blue", since=None)
    assert np.isnan([row[0], row[2], row[3], row[4]]).all()
    strict = {"colour": INPUTS["colour"].model_copy(update={"unknown": "refuse"})}
    with pytest.raises(MalformedInput, match="row 1, colour is 'blue'"):
        encode(strict, {"colour": ["red", "blue"]}, 2)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("size", "1.5", "a number"),
        ("size", True, "a number"),
        ("size", 1e300, "a number"),
        ("count", 1.5, "a whole number"),
        ("count", None, "a value is needed"),
        ("open", 1, "true or false"),
        ("colour", 7, "a text"),
        ("since", "1970-01-02T12:00:00", "with a zone"),
        ("since", 3.0, "with a zone"),
    ],
)
def test_nothing_is_cast(name, value, wanted):
    with pytest.raises(MalformedInput) as caught:
        encoded(**{name: value})
    assert f"row 0, {name} is" in caught.value.message
    assert wanted in caught.value.hint


def test_whole_columns_are_encoded_like_single_values():
    values = np.array([1.0, np.nan, 3.0])
    whole = encode({"size": NUMBER}, {"size": values}, 3)
    single = [encode({"size": NUMBER}, {"size": [value]}, 1)[0, 0] for value in [1.0, None, 3]]
    assert np.array_equal(whole[:, 0], np.array(single, dtype=np.float32), equal_nan=True)
    with pytest.raises(MalformedInput, match="row 1, size is "):
        encode({"size": InputSpec(type="float", missing="refuse")}, {"size": values}, 3)


def test_categories_belong_to_a_category():
    with pytest.raises(ValidationError, match="belong to type category"):
        InputSpec(type="float", missing="allow", categories=("a",), unknown="missing")
    with pytest.raises(ValidationError, match="listed twice"):
        InputSpec(type="category", missing="allow", categories=("a", "a"), unknown="missing")
