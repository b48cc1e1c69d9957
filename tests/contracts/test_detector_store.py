"""One suite for DetectorStore: memory, SQLite, PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from doubles.detectors import MemoryDetectors
from postgres_server import admitted

from perennial.adapters.sql.store import SqlStore
from perennial.core.governance.database_use import DatabaseUse
from perennial.core.monitoring.batches import BatchedReference
from perennial.core.monitoring.harm_detector import DetectorState, with_batch

NOW = datetime(2026, 1, 5, 8, 0, 0, 123456, tzinfo=UTC)
REFERENCE = BatchedReference(mean=0.9, variance=0.001, batches=20, weight=20.0, size=80)
EMPTY = DetectorState.begin("a" * 64, REFERENCE, NOW)
MOVED = with_batch(EMPTY, 1 / 3, 80, NOW, NOW, 0.01, 1.0)


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.server)])
def store(request, tmp_path):
    if request.param == "memory":
        return MemoryDetectors()
    if request.param == "sqlite":
        return SqlStore(f"sqlite:///{tmp_path}/state/perennial.db").detectors
    url = request.getfixturevalue("postgres")
    SqlStore(url).ledger.rows()  # the owner makes the tables
    return SqlStore(admitted(url, DatabaseUse.PLANT)).detectors


def test_a_state_comes_back_as_it_was_stored_for_its_model_alone(store):
    assert store.load("stored") is None
    assert store.save("stored", EMPTY, None)
    assert store.save("stored", MOVED, 0)
    assert store.load("stored") == (1, MOVED)
    assert store.load("another") is None


def test_of_two_that_go_on_from_one_state_the_first_is_kept(store):
    assert store.save("raced", EMPTY, None)
    assert not store.save("raced", MOVED, None)
    assert store.save("raced", MOVED, 0)
    assert not store.save("raced", EMPTY, 0)
    assert store.load("raced") == (1, MOVED)
