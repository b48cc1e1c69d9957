"""Inputs that a caller sends: one encoding, and no silent cast."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from perennial.core.input_encoding import Distinct, encode, faults, where
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
    ("value", "hint"),
    [
        ("gren", "nearest of the 2 known: 'green'; "),
        ("RED", "nearest of the 2 known: 'red'; "),
        ("mauve", "known: 'red', 'green'; "),
    ],
)
def test_an_unknown_category_is_refused_with_the_nearest_known_ones(value, hint):
    strict = {"colour": INPUTS["colour"].model_copy(update={"unknown": "refuse"})}
    with pytest.raises(MalformedInput, match=f"row 0, colour is '{value}'") as caught:
        encode(strict, {"colour": [value]}, 1)
    assert caught.value.hint.startswith(hint)


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


MOMENTS = st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1))  # noqa: DTZ001 the bounds are naive
VALUES = {
    "size": st.floats(width=64) | st.none(),
    "count": st.integers(-(2**60), 2**60) | st.just(1.5) | st.none(),
    "open": st.booleans() | st.none(),
    "colour": st.sampled_from(["red", "green", "blue", None]),
    "since": MOMENTS.map(lambda at: at.replace(tzinfo=UTC)) | st.none(),
    "words": st.text(max_size=8) | st.none(),
}
ALL = INPUTS | {
    "colour": INPUTS["colour"].model_copy(update={"unknown": "refuse"}),
    "words": InputSpec(type="text", missing="refuse", buckets=16),
}


def arrays(name, values):
    """Return a column in the forms in which a batch has it."""
    distinct = list(dict.fromkeys([*values, "unused", None]))
    forms = [Distinct(distinct, np.array([distinct.index(value) for value in values]))]
    if name in ("size", "count"):
        forms.append(np.array([np.nan if value is None else value for value in values], dtype=np.float64))
    if name == "since":
        plain = [None if value is None else value.replace(tzinfo=None) for value in values]
        forms.append(np.array(plain, dtype="datetime64[us]"))
    if name == "open" and None not in values:
        forms.append(np.array(values, dtype=bool))
    return forms


@settings(max_examples=examples(400), deadline=None)
@given(st.data(), st.sampled_from(sorted(ALL)), st.sampled_from(["allow", "refuse"]))
def test_every_form_of_a_column_has_the_same_numbers_and_faults(data, name, missing):
    spec = ALL[name].model_copy(update={"missing": missing})
    values = data.draw(st.lists(VALUES[name], min_size=1, max_size=8))
    inputs, rows = {name: spec}, len(values)
    refused = faults(inputs, {name: values}, rows)
    sound = np.delete(np.arange(rows), [fault.row for fault in refused])
    expected = encode(inputs, {name: [values[row] for row in sound]}, len(sound))
    for form in arrays(name, values):
        seen = faults(inputs, {name: form}, rows)
        assert [(fault.row, fault.reason) for fault in seen] == [
            (fault.row, fault.reason) for fault in refused
        ]
        np.testing.assert_array_equal(encode(inputs, {name: where(form, sound)}, len(sound)), expected)
        if refused:
            with pytest.raises(MalformedInput, match=f"row {refused[0].row}, {name} is"):
                encode(inputs, {name: form}, rows)


def test_a_row_is_named_once_by_its_first_fault():
    columns = {"count": [1, None, 2.5], "colour": ["red", 7, "red"]}
    seen = faults({name: INPUTS[name] for name in columns}, columns, 3)
    assert [(fault.row, fault.column, fault.value) for fault in seen] == [
        (1, "count", ""),
        (2, "count", "2.5"),
    ]
