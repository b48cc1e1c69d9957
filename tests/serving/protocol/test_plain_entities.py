"""The short reader of a request by entity returns what the reader of all requests returns, or nothing."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial import limits
from perennial.errors import PerennialError
from perennial.serving import entities, strict_json
from perennial.serving.manifest import ServedManifest
from perennial.serving.protocol.rest.plain_entities import read_plain

MANIFEST = ServedManifest(
    format=1, model="m", capsule="c", input="features", output="score", features=["a"], feature_service="m_v1",
    entities=["test_id", "suite"], request={"cycle_size": "int", "requested_at": "timestamp"}, threshold=0.5,
)  # fmt: skip
ENTITY, CONTEXT = {"test_id": "t1", "suite": "s"}, {"cycle_size": 50, "requested_at": "2015-12-01T10:00:00Z"}
VALUES = st.one_of(
    st.text(max_size=3), st.integers(-(2**70), 2**70), st.floats(allow_nan=False), st.booleans(), st.none()
)
ENTITIES = st.fixed_dictionaries(
    {"test_id": st.text(max_size=4) | VALUES, "suite": st.just("s")}, optional={"other": st.just("x")}
)
CONTEXTS = st.fixed_dictionaries(
    {"cycle_size": st.integers(0, 99) | st.sampled_from([50.0, 1.5, 1e16, True, "50"])},
    optional={
        "requested_at": st.sampled_from([CONTEXT["requested_at"], 1448964000, -1, "yesterday"]),
        "x": VALUES,
    },
)
BODIES = st.fixed_dictionaries(
    {"entities": st.lists(ENTITIES, max_size=3)},
    optional={"context": CONTEXTS, "allow_unknown": VALUES, "explain": st.booleans()},
)


def body(**changes) -> bytes:
    return json.dumps({"entities": [ENTITY], "context": CONTEXT, **changes}).encode()


def outcome(read, content: bytes):
    try:
        return read(content)
    except PerennialError as error:
        return error.message, error.hint


def of_all(content: bytes):
    return entities.parse(strict_json.parse(content), MANIFEST)


def same(content: bytes) -> bool:
    """Return whether the short reader read the body; then both must have read, or refused, the same."""
    short = outcome(lambda given: read_plain(given, MANIFEST), content)
    if short is None:
        return False
    long = outcome(of_all, content)
    assert repr(short) == repr(long), "also the types of the values"
    return True


@given(BODIES, st.booleans())
def test_both_readers_agree(content, ascii_only):
    same(json.dumps(content, ensure_ascii=ascii_only).encode())


TOKENS = [b'"allow_unknown":true,', b'"context":{},', b'"suite":"s",', b"\\u0061", b"\\ud83d", b"\xff", b"NaN", b"2.0",
          b"null", b"\xef\xbb\xbf", b"{}", b'""', b"1e400", b"99999999999999999999999999"]  # fmt: skip


@given(st.data())
def test_a_changed_body_is_read_alike_or_left_to_the_reader_of_all_requests(draws):
    content = body()
    for _ in range(draws.draw(st.integers(1, 2))):
        start = draws.draw(st.integers(0, len(content)))
        end = draws.draw(st.integers(start, min(start + 3, len(content))))
        piece = draws.draw(st.sampled_from(TOKENS) | st.binary(max_size=1))
        content = content[:start] + piece + content[end:]
    same(content)


@pytest.mark.parametrize(
    "more", [{}, {"allow_unknown": True}, {"allow_unknown": False}, {"entities": [ENTITY] * 9}]
)
def test_the_common_form_is_read_at_once(more):
    assert same(body(**more))


@pytest.mark.parametrize(
    "content",
    [
        body().replace(b'"suite"', b'"suite": "r", "suite"'),
        body().replace(b'"context"', b'"context": {}, "context"'),
        body(entities=[{"test_id": "", "suite": "s"}]),
        body(entities=[{"test_id": "t" * (limits.TEXT + 1), "suite": "s"}]),
        body(entities=[{"test_id": "t1"}]),
        body(entities=[]),
        body(entities=[ENTITY] * (limits.ROWS + 1)),
        body(more=1),
    ],
    ids=["a key twice", "a context twice", "no text", "too long", "a key lacks", "none", "too many", "a strange key"],
)  # fmt: skip
def test_what_is_wrong_is_left_to_the_reader_that_says_so(content):
    assert read_plain(content, MANIFEST) is None
    with pytest.raises(PerennialError):
        of_all(content)
