"""The hash chain: any edit, removal, insertion or move is found, and where."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.core.events import Entry, LedgerRow
from perennial.core.frozen import canonical
from perennial.core.governance.ledger import (
    GENESIS,
    Head,
    StoredRow,
    chain,
    compare,
    stored,
    text_hash,
    verify,
    verify_stored,
)

TEXT = st.text(max_size=8)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
ENTRIES = st.builds(
    Entry,
    at=st.datetimes(timezones=st.just(UTC)),
    actor=TEXT,
    kind=TEXT,
    model=TEXT,
    release_id=st.none() | TEXT,
    digest=st.none() | TEXT,
    payload=st.dictionaries(TEXT, VALUES, max_size=3),
)
LEDGERS = st.lists(ENTRIES, min_size=1, max_size=6)


def rows_of(entries: list[Entry]) -> list[LedgerRow]:
    rows: list[LedgerRow] = []
    for entry in entries:
        rows.append(chain(entry, len(rows) + 1, rows[-1].hash if rows else GENESIS))
    return rows


@given(entries=LEDGERS)
def test_untouched_chain_holds_and_survives_json(entries):
    rows = rows_of(entries)
    assert verify(rows) is None
    assert verify([LedgerRow.model_validate_json(row.model_dump_json()) for row in rows]) is None


@given(entries=LEDGERS, data=st.data())
def test_edit_is_found_where_it_is(entries, data):
    rows = rows_of(entries)
    place = data.draw(st.integers(0, len(rows) - 1))
    entry = rows[place].entry
    edited = data.draw(
        st.sampled_from(
            [
                entry.model_copy(update={"actor": entry.actor + "x"}),
                entry.model_copy(update={"digest": (entry.digest or "") + "x"}),
                entry.model_copy(
                    update={"at": entry.at.replace(microsecond=(entry.at.microsecond + 1) % 10**6)}
                ),
                entry.model_copy(update={"payload": {**entry.payload, "new key!": 1}}),
            ]
        )
    )
    rows[place] = rows[place].model_copy(update={"entry": edited})
    assert verify(rows) == place + 1


@given(entries=st.lists(ENTRIES, min_size=2, max_size=6), data=st.data())
def test_removal_insertion_and_move_are_found(entries, data):
    rows = rows_of(entries)
    place = data.draw(st.integers(0, len(rows) - 2))
    assert verify(rows[:place] + rows[place + 1 :]) == place + 1
    assert verify([*rows[: place + 1], *rows[place:]]) == place + 2
    moved = list(rows)
    moved[place], moved[place + 1] = moved[place + 1], moved[place]
    assert verify(moved) == place + 1


def test_rewritten_hash_moves_the_break_to_the_next_row():
    rows = rows_of([Entry(at=datetime(2026, 1, 1, tzinfo=UTC), actor=a, kind="k", model="m") for a in "abc"])
    forged = chain(rows[1].entry.model_copy(update={"actor": "x"}), 2, rows[0].hash)
    assert verify([rows[0], forged, rows[2]]) == 3


def test_same_instant_in_another_zone_is_another_text():
    at = datetime(2026, 1, 1, 12, tzinfo=UTC)
    east = at.astimezone(timezone(timedelta(hours=2)))
    one, other = (Entry(at=moment, actor="a", kind="k", model="m") for moment in (at, east))
    assert chain(one, 1, GENESIS).hash != chain(other, 1, GENESIS).hash


def test_canonical_refuses_what_json_cannot_say():
    assert canonical({"b": 1, "a": "ü"}) == '{"a":"ü","b":1}'
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical(float("nan"))


@given(entries=LEDGERS, data=st.data())
def test_stored_text_is_checked_byte_by_byte(entries, data):
    lying = [stored(row) for row in rows_of(entries)]
    assert verify_stored(lying) is None
    place = data.draw(st.integers(0, len(lying) - 1))
    row = lying[place]
    column = data.draw(st.sampled_from(["model", "text", "previous", "hash"]))
    text = getattr(row, column)
    at = data.draw(st.integers(0, len(text)))
    changed = data.draw(
        st.sampled_from(
            [text[:at] + " " + text[at:], text[:at] + "x" + text[at:], text[:at] + text[at + 1 :]]
        )
    )
    if changed != text:
        lying[place] = row._replace(**{column: changed})
        assert verify_stored(lying) == place + 1


@given(entries=LEDGERS, data=st.data())
def test_kept_head_finds_what_the_chain_alone_cannot(entries, data):
    rows = rows_of(entries)
    kept = data.draw(st.integers(0, len(rows)))
    head = Head(seq=kept, hash=rows[kept - 1].hash if kept else GENESIS, at=datetime(2026, 1, 1, tzinfo=UTC))
    assert compare([row.hash for row in rows], head) is None, "a ledger that grew keeps its old heads"
    cut = data.draw(st.integers(0, len(rows)))
    assert verify(rows[:cut]) is None, "the chain alone cannot know of what was cut off"
    assert (compare([row.hash for row in rows[:cut]], head) is None) == (cut >= kept)
    place = data.draw(st.integers(0, len(rows) - 1))
    forged = list(entries)
    forged[place] = forged[place].model_copy(update={"actor": forged[place].actor + "x"})
    anew = rows_of(forged)
    assert verify(anew) is None, "a chain written anew holds"
    assert (compare([row.hash for row in anew], head) is None) == (kept <= place)


def test_nonsense_with_a_right_hash_is_no_entry():
    row = StoredRow(1, "m", "{}", GENESIS, text_hash("{}", 1, GENESIS))
    assert verify_stored([row]) == 1


def test_signed_text_names_every_part_of_a_head():
    head = Head(seq=3, hash="a" * 64, at=datetime(2026, 1, 1, tzinfo=UTC))
    others = [{"seq": 4}, {"hash": "b" * 64}, {"at": datetime(2026, 1, 2, tzinfo=UTC)}]
    assert len({head.message, *(head.model_copy(update=other).message for other in others)}) == 4
