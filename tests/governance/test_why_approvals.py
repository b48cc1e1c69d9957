"""Which approvals a version relied on: those that stood."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from perennial.core.events import Entry
from perennial.core.governance.ledger import GENESIS, chain
from perennial.core.governance.why import explain

NOW = datetime(2026, 1, 5, tzinfo=UTC)


def story(*facts: tuple[str, str, dict]):
    rows, previous = [], GENESIS
    for seq, (kind, actor, payload) in enumerate(facts, start=1):
        entry = Entry(at=NOW, actor=actor, kind=f"release.{kind}", model="m", release_id="r", payload=payload)
        rows.append(chain(entry, seq, previous))
        previous = rows[-1].hash
    return rows


@pytest.mark.parametrize(
    ("gone", "actor", "payload"),
    [("approval_withdrawn", "Ann", {}), ("approval_lapsed", "machine", {"of": "ann"})],
)
def test_what_was_taken_back_or_lapsed_is_not_told_as_given(gone, actor, payload):
    told = explain(
        "m",
        NOW,
        None,
        story(
            ("gated", "gate", {"verdict": "PASS"}),
            ("approved", "ann", {"note": "first"}),
            (gone, actor, payload),
            ("approved", "bob", {}),
            ("loading", "machine", {}),
        ),
        [],
        [],
    )
    assert [one.actor for one in told.approvals] == ["bob"]
    assert [one.observed for one in told.checks if one.rule == "approval"] == ["by bob"]


def test_given_again_after_it_lapsed_it_counts():
    facts = [("approved", "ann", {"note": "first"}), ("approval_lapsed", "machine", {"of": "ann"})]
    told = explain("m", NOW, None, story(*facts, ("approved", "ann", {"note": "again"})), [], [])
    assert [one.note for one in told.approvals] == ["again"]
