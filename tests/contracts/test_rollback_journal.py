"""One suite for every RollbackJournal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from doubles.routing import MemoryJournal

from perennial.adapters.rollback_journal import FileJournal
from perennial.core.release.rollback import Check, Rollback
from perennial.core.release.traffic import Target
from perennial.errors import StoreUnavailable

AT = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.fixture(params=["memory", "files"])
def journal(request, tmp_path):
    return MemoryJournal() if request.param == "memory" else FileJournal(tmp_path / "rollbacks")


def entry(name: str, minutes: int = 0, **changes) -> Rollback:
    made = Rollback(
        id=name, model="m", at=AT + timedelta(minutes=minutes), actor="ann", canary_only=False,
        left=Target(version="1.1.0", digest="b", release_id="r2"),
        to=Target(version="1.0.0", digest="a", release_id="r1"),
        checks=(Check(name="pool", ok=True, observed="2 of 2"),),
    )  # fmt: skip
    return made.model_copy(update=changes)


def test_at_first_nothing_is_pending(journal):
    assert list(journal.pending()) == []


def test_in_the_order_in_which_they_happened(journal):
    for rollback in (entry("b", 2), entry("a", 3), entry("c", 1)):
        journal.put(rollback)
    assert [rollback.id for rollback in journal.pending()] == ["c", "b", "a"]


def test_the_same_id_replaces(journal):
    journal.put(entry("a"))
    journal.put(entry("a", applied=True))
    assert list(journal.pending()) == [entry("a", applied=True)]


def test_removed_once_or_twice(journal):
    journal.put(entry("a"))
    journal.remove(entry("a"))
    journal.remove(entry("a"))
    assert list(journal.pending()) == []


def test_one_at_a_time_settles(journal):
    with journal.recording() as mine:
        assert mine
        with journal.recording() as second:
            assert not second
    with journal.recording() as again:
        assert again


def test_a_file_that_is_no_rollback_is_named(tmp_path):
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(StoreUnavailable, match=r"x\.json"):
        FileJournal(tmp_path).pending()
