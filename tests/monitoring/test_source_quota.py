"""The cap on what a single source decides."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.core.monitoring.source_quota import quotas


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ({}, 0.5, {}),
        ({"a": 100}, 0.5, {"a": 0}),
        ({"a": 10_000, "b": 100}, 0.5, {"a": 100, "b": 100}),
        ({"a": 10_000, "b": 100, "c": 100}, 0.5, {"a": 200, "b": 100, "c": 100}),
        ({"a": 100, "b": 100, "c": 100}, 0.4, {"a": 100, "b": 100, "c": 100}),
        ({"a": 100, "b": 100}, 0.4, {"a": 0, "b": 0}),
        ({"a": 100, "b": 0}, 0.5, {"a": 0, "b": 0}),
    ],
)
def test_cut_to_the_share(counts, share, expected):
    assert quotas(counts, share) == expected


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 10**6), max_size=6), st.floats(0.05, 0.95))
def test_nobody_has_more_than_the_share(counts, share):
    kept = quotas(counts, share)
    assert kept.keys() == counts.keys()
    assert all(kept[source] <= counts[source] for source in counts)
    # Whole labels: the cut ones are rounded down, by less than one each.
    total = sum(kept.values()) + len(kept)
    assert all(count <= share * total + 1e-6 for count in kept.values())
