"""The history store: appended to, never changed."""

from __future__ import annotations

from datetime import UTC, datetime

import pandas as pd
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from perennial.errors import DatasetMissing, MalformedInput, UsageError
from perennial.history.simulator import SimulationScenario, simulate
from perennial.history.store import HistorySource, HistoryStore

FRAME = simulate(SimulationScenario(cycles=6, tests=20))
SOURCE = HistorySource(source="simulator", why="a test", at=datetime(2025, 1, 1, tzinfo=UTC))


@pytest.fixture
def store(tmp_path):
    return HistoryStore(tmp_path / "history")


def files(store):
    return sorted(path.name for path in store._folder.rglob("*.parquet"))


def test_what_was_appended_comes_back_in_order(store):
    later, earlier = FRAME[FRAME["cycle"] > 3], FRAME[FRAME["cycle"] <= 3]
    assert store.append("ci", later, SOURCE) == len(later)
    assert store.append("ci", earlier, SOURCE) == len(earlier)
    pd.testing.assert_frame_equal(store.load("ci"), FRAME)
    assert store.last_cycle("ci") == 6
    assert store.names() == ["ci"]


def test_again_changes_nothing(store):
    store.append("ci", FRAME, SOURCE)
    before = files(store)
    assert store.append("ci", FRAME, SOURCE) == 0
    assert store.append("ci", FRAME.head(10)) == 0
    assert files(store) == before


@settings(max_examples=examples(15), deadline=None)
@given(parts=st.lists(st.sets(st.integers(1, 6), min_size=1), min_size=1, max_size=5))
def test_overlapping_appends_in_any_order_are_their_union(tmp_path_factory, parts):
    store = HistoryStore(tmp_path_factory.mktemp("history"))
    for cycles in parts:
        store.append("ci", FRAME[FRAME["cycle"].isin(cycles)], SOURCE)
    wanted = FRAME[FRAME["cycle"].isin(set().union(*parts))].reset_index(drop=True)
    pd.testing.assert_frame_equal(store.load("ci"), wanted)


def test_an_execution_never_changes(store):
    store.append("ci", FRAME, SOURCE)
    changed = FRAME.tail(3).assign(verdict=lambda t: 1 - t["verdict"], duration_ms=1)
    with pytest.raises(MalformedInput, match="already there with another duration_ms, verdict"):
        store.append("ci", changed, SOURCE)
    pd.testing.assert_frame_equal(store.load("ci"), FRAME)


def test_the_source_is_kept_and_several_are_all_named(store):
    store.append("ci", FRAME[FRAME["cycle"] < 3], SOURCE)
    assert store.source("ci") == SOURCE
    other = HistorySource(source="junit", why="imported", at=SOURCE.at)
    store.append("ci", FRAME, other)
    assert store.source("ci").source == "simulator + junit"


def test_a_source_recorded_first_serves_later_appends(store):
    with pytest.raises(UsageError, match="nothing says where"):
        store.append("ci", FRAME)
    store.record_source("ci", "a replay", "for the demo", SOURCE.at)
    assert not store.exists("ci")
    store.append("ci", FRAME)
    assert store.source("ci").source == "a replay"
    store.record_source("ci", "a replay", "for the demo", SOURCE.at)
    with pytest.raises(UsageError, match="another source"):
        store.record_source("ci", "other", "", SOURCE.at)


def test_an_empty_history_says_how_to_fill_it(store):
    with pytest.raises(DatasetMissing) as caught:
        store.load("ci")
    assert "perennial data bootstrap" in caught.value.hint
    with pytest.raises(DatasetMissing):
        store.source("ci")
    assert store.last_cycle("ci") is None


def test_a_broken_part_is_named(store):
    store.append("ci", FRAME, SOURCE)
    part = next(store._folder.rglob("*.parquet"))
    part.write_bytes(b"PAR1")
    with pytest.raises(MalformedInput, match=part.name):
        store.load("ci")


@pytest.mark.parametrize("name", ["../up", "", "a/b", "UPPER", ".hidden"])
def test_a_name_cannot_leave_the_folder(store, name):
    with pytest.raises(UsageError, match="no name for a history"):
        store.append(name, FRAME, SOURCE)
