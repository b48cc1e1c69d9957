"""One schema for every source: what does not fit is refused with its column and row."""

from __future__ import annotations

from datetime import datetime

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.errors import MalformedInput
from perennial.history import schema


def rows(count=3, **changed):
    frame = pd.DataFrame(
        {
            "execution_id": [f"e{number}" for number in range(count)],
            "suite": "ci",
            "test_id": "t1",
            "cycle": range(count),
            "started_at": "2025-01-01T00:00:00",
            "duration_ms": 5,
            "verdict": 0,
            "area": "",
        }
    )
    return frame.assign(**changed)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"verdict": [0, 1, 2]}, "row 3: verdict is neither 1"),
        ({"verdict": [0, None, 1]}, "row 2: verdict is not a number"),
        ({"cycle": [1, -1, 2]}, "row 2: cycle is negative"),
        ({"cycle": [1, 1.5, 2]}, "row 2: cycle is not a whole number"),
        ({"duration_ms": ["1", "soon", "2"]}, "row 2: duration_ms is not a number: 'soon'"),
        ({"duration_ms": [1, float("inf"), 2]}, "row 2: duration_ms is not a number"),
        ({"test_id": ["a", " ", "b"]}, "row 2: test_id is empty"),
        ({"suite": [None, "a", "b"]}, "row 1: suite is missing"),
        ({"area": ["", None, ""]}, "row 2: area is missing"),
        ({"execution_id": ["a", "b", "a"]}, "row 3: execution_id is there twice: 'a'"),
        ({"started_at": ["2025-01-01", "yesterday", "2025-01-02"]}, "row 2: started_at is not an ISO 8601"),
        ({"started_at": [1, 2, 3]}, "started_at is a number, not a time"),
        ({"extra": 1}, "has unknown extra"),
    ],
)
def test_what_does_not_fit_is_named(changed, named):
    with pytest.raises(MalformedInput) as caught:
        schema.conform(rows(**changed), "the file")
    assert named in caught.value.message
    assert caught.value.message.startswith("the file")


def test_a_missing_column_is_named():
    with pytest.raises(MalformedInput, match="lacks duration_ms"):
        schema.conform(rows().drop(columns="duration_ms"), "the file")


def test_times_without_a_zone_are_utc_and_others_are_converted():
    times = ["2025-01-01T12:00:00", "2025-01-01T12:00:00+02:00", "2025-01-01 09:00:00Z"]
    frame = schema.conform(rows(started_at=times, cycle=[0, 1, 2]), "x")
    assert [time.hour for time in frame["started_at"]] == [12, 10, 9]
    assert str(frame["started_at"].dtype) == "datetime64[ns, UTC]"


def test_an_empty_history_has_all_types():
    empty = schema.empty()
    assert list(empty.columns) == list(schema.COLUMNS)
    assert str(empty["verdict"].dtype) == "int8"
    assert str(empty["started_at"].dtype) == "datetime64[ns, UTC]"


# Years beyond 2262 do not fit into nanoseconds.
TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1))  # noqa: DTZ001 as sources without a zone
ROW = st.tuples(st.integers(0, 5), TIMES, st.integers(0, 10**9), st.integers(0, 1))


@given(st.lists(ROW, max_size=20), st.randoms())
def test_any_order_of_rows_gives_the_same_history_and_again_changes_nothing(values, random):
    frame = pd.DataFrame(values, columns=["cycle", "started_at", "duration_ms", "verdict"])
    ids = [f"e{number}" for number in range(len(frame))]
    frame = frame.assign(execution_id=ids, suite="ci", test_id="t", area="")
    once = schema.conform(frame, "x")
    order = list(range(len(frame)))
    random.shuffle(order)
    pd.testing.assert_frame_equal(schema.conform(frame.iloc[order], "x"), once)
    pd.testing.assert_frame_equal(schema.conform(once, "x"), once)
    assert once["cycle"].is_monotonic_increasing
