"""The short reader of the common request returns what the reader of all requests returns, or nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.errors import PerennialError
from perennial.serving.protocol.rest import requests
from perennial.serving.protocol.rest.plain_request import read_plain

NUMBERS = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**70), 2**70))
SIZES = st.sampled_from([-4, 0, 4, 8, 24, 8.0])
VALUES = st.one_of(NUMBERS, st.booleans(), st.none(), st.text(max_size=2), st.lists(NUMBERS, max_size=2))
TENSORS = st.fixed_dictionaries(
    {
        "name": st.text(max_size=3),
        "datatype": st.sampled_from(["FP32", "FP32", "FP32", "FP64", "INT64", "F"]),
        "shape": st.lists(st.one_of(st.integers(-1, 3), st.floats(1, 2)), max_size=3),
        "data": st.lists(NUMBERS, max_size=9) | st.lists(VALUES, max_size=4),
    },
    optional={
        "parameters": st.just({}) | st.fixed_dictionaries({"binary_data_size": SIZES}),
        "other": st.integers(),
    },
)
WANTED = st.fixed_dictionaries({}, optional={"binary_data_output": st.booleans() | st.just(1)})
BODIES = st.fixed_dictionaries(
    {"inputs": st.lists(TENSORS, min_size=1, max_size=2) | st.lists(TENSORS, min_size=1, max_size=1)},
    optional={"id": st.text(max_size=3) | st.none(), "outputs": st.just([]), "parameters": WANTED},
)


def plain(shape, data, **more) -> bytes:
    tensor = {"name": "features", "shape": shape, "datatype": "FP32", "data": data}
    return json.dumps({"inputs": [tensor], **more}).encode()


def of_all(body: bytes, rest: bytes = b""):
    given = {requests.HEADER_LENGTH: str(len(body))} if rest else {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requests, "read_plain", lambda *_: None)
        return requests.read_request(body + rest, given, "m", "")


def same(body: bytes, rest: bytes = b"") -> bool:
    """Return whether the short reader read the body; then both must have read the same."""
    short = read_plain(body, memoryview(rest), "m", "")
    if short is None:
        return False
    long = of_all(body, rest)
    assert short._replace(inputs=()) == long._replace(inputs=())
    (one,), (other,) = short.inputs, long.inputs
    assert one[:3] == other[:3]
    assert one.parameters == other.parameters
    assert one.values.dtype == other.values.dtype
    assert one.values.tobytes() == other.values.tobytes(), "also the sign of zero"
    assert np.isfinite(one.values).all() or not one.finite
    return True


@given(BODIES, st.booleans(), st.sampled_from([b"", bytes(8), b"\0\0\x80\x7f" * 6]))
def test_both_readers_agree(content, ascii_only, rest):
    same(json.dumps(content, ensure_ascii=ascii_only).encode(), rest)


NUMERALS = st.from_regex(rb"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
TOKENS = [b'"id":"7",', b'"data":[1,2],', b'"inputs":[],', b'"parameters":{},', b"\\u0061", b"\\ud83d", b"\xff", b"NaN",
          b"2.0", b"null", b"\xef\xbb\xbf"]  # fmt: skip
PIECES = st.one_of(NUMERALS, st.sampled_from(TOKENS), st.binary(max_size=1))


@given(NUMERALS, NUMERALS)
def test_every_way_to_write_a_number_is_read_alike(first, second):
    body = plain([1, 2], [1, 2]).replace(b"[1, 2]}", b"[%s, %s]}" % (first, second))
    same(body)


@given(st.data(), st.booleans())
def test_a_changed_body_is_read_alike_or_left_to_the_reader_of_all_requests(draws, named):
    body = plain([1, 2], [0.5, -2], **({"id": "7"} if named else {}))
    for _ in range(draws.draw(st.integers(1, 2))):
        start = draws.draw(st.integers(0, len(body)))
        end = draws.draw(st.integers(start, min(start + 3, len(body))))
        body = body[:start] + draws.draw(PIECES) + body[end:]
    same(body)


@given(st.integers(1, 3), st.booleans(), st.sampled_from([b"\0\0\0\0", b"\0\0\x80\x7f"]))
def test_a_tensor_as_bytes_is_read_at_once(rows, wanted, value):
    tensor = {
        "name": "f",
        "shape": [rows, 2],
        "datatype": "FP32",
        "parameters": {"binary_data_size": 8 * rows},
    }
    content = {"inputs": [tensor], "parameters": {"binary_data_output": wanted}}
    assert same(json.dumps(content).encode(), value * 2 * rows)
    assert not same(json.dumps({"inputs": [{**tensor, "data": [1]}]}).encode(), value * 2 * rows)
    assert not same(json.dumps(content).encode(), value * 2 * rows + b"0")


@given(
    st.lists(
        st.one_of(st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(-9, 9)), min_size=1
    )
)
def test_the_common_form_is_read_at_once(data):
    assert same(plain([len(data)], data))
    assert same(plain([1, len(data)], data, id="7"))


@pytest.mark.parametrize(
    "body",
    [
        plain([1, 2], [1, 2]).replace(b'"data"', b'"name": "features", "data"'),
        plain([1, 2], [1, 2], id="7").replace(b'"id"', b'"id": "8", "id"'),
        plain([1, 2], [1, 2]).replace(b'{"inputs"', b'{"inputs": [], "inputs"'),
        plain([1, 2], [1, True]),
        plain([1, 2], [1, 1e39]),
        plain([1, 2], [1]),
        plain([0, 2], []),
        plain([1, 2], [1, 2]) + b"{}",
        plain([1, 2], [1, 2]).replace(b"features", b"\xff"),
    ],
    ids=["a name twice", "an id twice", "inputs twice", "true", "too large", "too few", "no row", "more", "no UTF-8"],
)  # fmt: skip
def test_what_is_wrong_is_left_to_the_reader_that_says_so(body):
    assert read_plain(body, memoryview(b""), "m", "") is None
    with pytest.raises(PerennialError):
        of_all(body)
