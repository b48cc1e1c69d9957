"""Typed readers of ledger payloads."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from perennial.core.events import Entry, Event
from perennial.core.payloads import FailoverFact, LevelChange, TrafficMove, VersionFact
from perennial.core.release.phase import Phase
from perennial.errors import LedgerBroken

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def entry(kind: str, **payload) -> Entry:
    return Entry(at=NOW, actor="ann", kind=kind, model="m", payload=payload)


def test_a_payload_without_a_needed_key_names_entry_and_key():
    with pytest.raises(LedgerBroken, match=r"payload of failover.began of m .*: counted: Field required"):
        FailoverFact.read(entry(Event.FAILOVER_BEGAN, answered=3))


def test_a_payload_of_another_type_is_refused():
    with pytest.raises(LedgerBroken, match="psi"):
        LevelChange.read(entry(Event.MONITOR_LEVEL, to="retrain", psi=["x"]))


def test_keys_that_a_reader_does_not_name_are_ignored():
    move = TrafficMove.read(entry(Event.EMERGENCY_ROLLBACK, to="1.0.0", checks=[], **{"from": "1.1.0"}))
    assert (move.left, move.to) == ("1.1.0", "1.0.0")


def test_the_reason_is_why_else_the_note():
    assert VersionFact.read(entry("x", why="", note="a note")).reason == "a note"
    assert VersionFact.read(entry("x")).reason == ""


def test_each_phase_but_the_first_has_an_event():
    assert {phase.event for phase in Phase if phase is not Phase.PENDING} < set(Event)
