"""One suite for ReleaseStore, Intents, Ledger and FeedbackStore: memory, SQLite, PostgreSQL."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from doubles.releases import MemoryStore
from postgres_server import admitted
from some_release import a_release

from perennial.adapters.sql import schema as tables
from perennial.adapters.sql.label_changes import note_changes
from perennial.adapters.sql.ledger import append_entry
from perennial.adapters.sql.sqlite_reads import SqliteReads
from perennial.adapters.sql.store import SqlStore
from perennial.core.events import Entry, Event
from perennial.core.governance.database_use import DatabaseUse
from perennial.core.governance.ledger import GENESIS, stored, verify
from perennial.core.governance.notices import Delivery
from perennial.core.governance.reviews import MOST_CHANGES, ForgottenComments, Review
from perennial.core.release.phase import Phase
from perennial.core.release.status import Intent, IntentKind, ReleaseStatus
from perennial.core.release.traffic import Counters
from perennial.errors import LedgerBroken, ReleaseConflict, SettingsError, StoreUnavailable
from perennial.flows.governance.ledger_check import check

MODEL = "test_failure_predictor"
NOW = datetime(2026, 1, 5, 8, 0, 0, 123456, tzinfo=UTC)


POSTGRES = pytest.param("postgres", marks=pytest.mark.server)
OWNS_NOTHING = pytest.param("postgres, by a role that owns nothing", marks=pytest.mark.server)
of_several_processes = pytest.mark.parametrize("make_store", ["sqlite", POSTGRES], indirect=True)
"""For what the fake cannot show: it is in one process, and nobody changes it from outside."""


@pytest.fixture(params=["memory", "sqlite", POSTGRES, OWNS_NOTHING])
def make_store(request, tmp_path):
    """A maker of stores over the same content, empty at first; memory has one store only."""
    if request.param == "memory":
        store = MemoryStore()
        yield lambda: store
    elif request.param == "sqlite":
        yield lambda: SqlStore(f"sqlite:///{tmp_path}/state/perennial.db")
    else:
        url = request.getfixturevalue("postgres")
        _drop_tables(url)
        if request.param != "postgres":
            url = admitted(url, DatabaseUse.PLANT)
        yield lambda: SqlStore(url)


def _drop_tables(url: str) -> None:
    from sqlalchemy import create_engine

    from perennial.adapters.sql.schema import metadata

    engine = create_engine(url)
    metadata.drop_all(engine)
    engine.dispose()


@pytest.fixture
def store(make_store):
    return make_store()


def test_the_last_pass_over_a_release_is_kept_and_changes_no_revision(store):
    saved = store.releases.save(a_status(), None, [])
    assert store.releases.last_pass(saved.release_id) is None
    for at in (NOW, NOW + timedelta(seconds=10)):
        store.releases.note_pass(saved.release_id, at)
        assert store.releases.last_pass(saved.release_id) == at
    assert store.releases.load(saved.release_id) == saved


def a_status(release_id: str = "r1", started: datetime = NOW) -> ReleaseStatus:
    baseline = {"canary": Counters(requests=3, buckets=((1.0, 1), (float("inf"), 3)))}
    return a_release(started, Phase.PENDING, release_id=release_id, baseline=baseline)


def an_entry(kind: str = "release.opened", model: str = MODEL) -> Entry:
    return Entry(
        at=NOW, actor="ann", kind=kind, model=model, payload={"text": "grüße", "n": 1.5, "deep": [1]}
    )


def an_intent(name: str, release_id: str = "r1") -> Intent:
    return Intent(
        id=name,
        release_id=release_id,
        kind=IntentKind.APPROVE,
        actor="ann",
        at=NOW,
        digest="d" * 64,
        channel="cli",
    )


def test_status_comes_back_as_it_was_saved(store):
    saved = store.releases.save(a_status(), None, [])
    assert saved.revision == 0
    assert store.releases.load("r1") == saved
    assert store.releases.load("other") is None


def test_save_counts_up_and_refuses_an_old_revision(store):
    first = store.releases.save(a_status(), None, [])
    second = store.releases.save(first.model_copy(update={"note": "x"}), first.revision, [an_entry()])
    assert (second.revision, store.releases.load("r1").note) == (1, "x")
    for expected in (0, 7, None):
        with pytest.raises(ReleaseConflict):
            store.releases.save(first.model_copy(update={"note": "y"}), expected, [an_entry()])
    assert store.releases.load("r1").note == "x"
    assert len(store.ledger.rows()) == 1, "a refused save writes no entry"


def test_save_of_what_was_never_stored_is_refused(store):
    with pytest.raises(ReleaseConflict):
        store.releases.save(a_status(), 0, [])


def test_active_are_those_that_have_not_ended_of_one_model_or_all(store):
    first = store.releases.save(a_status("r1"), None, [])
    second = store.releases.save(a_status("r2", NOW + timedelta(minutes=1)), None, [])
    assert store.releases.active() == store.releases.active(MODEL) == [second, first]
    assert store.releases.active("other") == []
    ended = first.model_copy(update={"phase": Phase.REJECTED})
    store.releases.save(ended, first.revision, [])
    assert store.releases.active() == [second]
    assert [each.phase for each in store.releases.latest(MODEL)] == [Phase.PENDING, Phase.REJECTED]


def test_latest_is_newest_first_and_of_one_model(store):
    for name, minutes in (("r1", 0), ("r3", 2), ("r2", 1)):
        store.releases.save(a_status(name, NOW + timedelta(minutes=minutes)), None, [])
    assert [one.release_id for one in store.releases.latest(MODEL)] == ["r3", "r2", "r1"]
    assert store.releases.latest("other") == []


def test_intents_stay_in_order_and_once(store):
    for name in ("b", "a", "b"):
        store.intents.put(an_intent(name))
    store.intents.put(an_intent("c", "r2"))
    assert [one.id for one in store.intents.pending("r1")] == ["b", "a"]
    assert store.intents.pending("r1")[0] == an_intent("b")


def test_ledger_is_one_chain(store):
    store.releases.save(a_status(), None, [an_entry("a"), an_entry("b")])
    row = store.ledger.append(an_entry("c", "other"))
    rows = store.ledger.rows()
    assert [one.entry.kind for one in rows] == ["a", "b", "c"]
    assert (rows[-1], row.seq) == (row, 3)
    assert rows[0].entry == an_entry("a")
    assert verify(rows) is None
    assert [one.seq for one in store.ledger.rows("other")] == [3]


def test_ledger_rows_by_what_is_asked(store):
    assert store.ledger.end() == (0, GENESIS)
    entries = [
        an_entry(kind).model_copy(update={"release_id": release, "at": NOW + timedelta(seconds=second)})
        for second, (kind, release) in enumerate([("a", "r1"), ("b", "r1"), ("a", "r2"), ("c", None)])
    ]
    for entry in entries:
        last = store.ledger.append(entry)
    store.ledger.append(an_entry("a", "other"))

    def found(**asked) -> list[int]:
        return [row.seq for row in store.ledger.rows(MODEL, **asked)]

    assert found(kinds=["a"]) == [1, 3]
    assert found(kinds=["a", "c"], newest=2) == [3, 4]
    assert found(release_id="r1") == [1, 2]
    assert found(until=entries[2].at) == [1, 2, 3]
    assert found(until=entries[2].at, newest=1) == [3]
    assert found(kinds=["a"], until=entries[1].at, newest=5) == [1]
    assert found(until=NOW - timedelta(seconds=1)) == []
    assert found(after=2) == [3, 4]
    assert found(after=1, kinds=["a"]) == [3]
    everything = store.ledger.rows()
    assert list(store.ledger.stored()) == [stored(row) for row in everything]
    assert store.ledger.end() == (5, everything[-1].hash)
    assert store.ledger.snapshot() == (store.ledger.end(), list(store.ledger.stored()))
    assert everything[3] == last


def test_channel_is_leased_to_one_and_keeps_how_far_it_was_told(store):
    later, minute = NOW + timedelta(seconds=61), timedelta(minutes=1)
    first = store.deliveries.take("1-mailto", 7, NOW, NOW + minute)
    assert first == Delivery(channel="1-mailto", seq=7)
    assert store.deliveries.take("1-mailto", 9, NOW + minute / 2, later) is None
    assert store.deliveries.take("2-json", 0, NOW, NOW + minute).seq == 0
    told = first.delivered(8, NOW)
    store.deliveries.put(told, NOW + minute)
    assert store.deliveries.take("1-mailto", 0, NOW + minute / 2, later) is None
    assert store.deliveries.take("1-mailto", 0, later, later + minute) == told, "whoever had it was killed"
    store.deliveries.give_back("1-mailto")
    failed = told.failed("it is down", NOW)
    store.deliveries.put(failed, NOW)
    assert store.deliveries.take("1-mailto", 0, NOW, later) == failed
    assert [one.channel for one in store.deliveries.all()] == ["1-mailto", "2-json"]


def test_labels_replace_and_count_what_changed(store):
    later = NOW + timedelta(microseconds=1)
    assert store.feedback.put({"p1": 1.0, "p2": 0.0}, NOW, "ci") == 2
    assert store.feedback.put({"p1": 1.0}, later, "ci") == 0
    assert store.feedback.put({"p2": 1.0, "p3": 0.0}, later, "ci") == 2
    assert store.feedback.labels() == {"ci": {"p1": 1.0, "p2": 1.0, "p3": 0.0}}
    assert store.feedback.labels(since=later) == {"ci": {"p2": 1.0, "p3": 0.0}}
    assert store.feedback.labels(since=NOW) == store.feedback.labels()
    assert store.feedback.put({}, NOW, "ci") == 0


def test_a_label_that_a_machine_sends_late_does_not_undo_its_correction(store):
    """Nor does what another process has read before the correction and stores after it."""
    corrected = NOW + timedelta(hours=1)
    for put, kept in (
        (store.feedback.put, store.feedback.labels),
        (store.feedback.put_rewards, store.feedback.rewards),
    ):
        assert put({"p1": 1.0}, corrected, "ci") == 1
        assert put({"p1": 0.0, "p2": 0.0}, NOW, "ci") == 1
        assert put({"p1": 0.5}, corrected, "ci") == 1, "of the same time the last one counts"
        assert kept() == {"ci": {"p1": 0.5, "p2": 0.0}}


def test_the_first_label_of_a_prediction_has_the_time_of_its_last_change(store):
    moments = [NOW + timedelta(seconds=seconds) for seconds in (0, 10, 20)]
    store.feedback.put({"p1": 1.0, "p2": 0.0}, moments[0], "ci")
    store.feedback.put({"p1": 0.0}, moments[1], "shop")
    store.feedback.put({"p1": 1.0, "p2": 1.0}, moments[2], "ci")  # p1 again, p2 corrected
    times = [moment.timestamp() for moment in moments]
    assert store.feedback.label_times() == {"p1": times[0], "p2": times[2]}
    assert store.feedback.label_times(since=moments[1]) == {"p1": times[1], "p2": times[2]}


def test_rewards_are_kept_beside_labels(make_store):
    feedback, later = make_store().feedback, NOW + timedelta(seconds=1)
    feedback.put({"p1": 1.0}, NOW, "ci")
    assert feedback.put_rewards({"p1": -2.5, "p2": 1e6}, NOW, "ci") == 2
    assert feedback.put_rewards({"p1": -2.5, "p2": 7.0}, later, "ci") == 1
    assert (feedback.labels(), feedback.rewards()) == ({"ci": {"p1": 1.0}}, {"ci": {"p1": -2.5, "p2": 7.0}})
    assert feedback.rewards(since=later) == {"ci": {"p2": 7.0}}


def test_reviews_replace_each_other_keep_a_history_and_lose_their_comments(make_store):
    fixed = Review(prediction_id="p1", verdict="modify", value=1.0, comment="why", consent=True)
    taken = Review(prediction_id="p1", verdict="reject")
    other = Review(prediction_id="p2", verdict="modify", value=0.5)
    later, of = NOW + timedelta(seconds=1), {"p1": "m", "p2": "n"}
    feedback = make_store().feedback
    assert feedback.put_reviews([(fixed, 1.0), (other, 0.5)], NOW, "ann", of) == (2, ())
    assert feedback.put_reviews([(fixed, 1.0)], later, "ann", of) == (0, ())
    assert feedback.put_reviews([(fixed, 1.0), (other, 0.5)], NOW, "ann", of) == (0, ()), "read again"
    assert feedback.reviewed() == {"ann": {"p1": 1.0, "p2": 0.5}}
    assert feedback.put_reviews([(taken, None)], later, "ann", of) == (1, ())
    assert feedback.reviewed() == {"ann": {"p2": 0.5}}
    assert [(kept.review, kept.number, kept.current) for kept in feedback.reviews("m")] == [
        (fixed, 1.0, False),
        (taken, None, True),
    ]
    assert [kept.at for kept in feedback.reviews(since=later)] == [later]
    rules = [
        ForgottenComments(source=source, prediction=prediction, until=until)
        for source, prediction, until in (
            ("bob", None, later),
            ("ann", "p2", later),
            ("ann", "p1", NOW - timedelta(seconds=1)),
            ("ann", "p1", later),
            ("ann", None, later),
        )
    ]
    assert [feedback.forget_comments(rule) for rule in rules] == [0, 0, 0, 1, 0]
    assert feedback.reviews("m")[0].review == fixed.model_copy(update={"comment": None})
    many = [
        Review(prediction_id="p3", verdict="modify", value=float(place)) for place in range(MOST_CHANGES + 1)
    ]
    for place, review in enumerate(many):
        done = feedback.put_reviews(
            [(review, review.value)], NOW + timedelta(seconds=place), "ann", {"p3": "m"}
        )
    assert done == (0, ("p3",))


def test_a_rule_of_the_ledger_takes_the_comment_out_of_what_is_stored_later(make_store):
    store, later = make_store(), NOW + timedelta(seconds=1)
    review = Review(prediction_id="p1", verdict="reject", comment="why", consent=True)
    store.feedback.put_reviews([(review, None)], NOW, "ann", {"p1": "m"})
    rule = ForgottenComments(source="ann", prediction="p1", until=NOW)
    payload = rule.model_dump(mode="json")
    store.ledger.append(Entry(at=NOW, actor="eve", kind=Event.COMMENTS_FORGOTTEN, model="-", payload=payload))
    assert (store.feedback.forgotten("ann"), store.feedback.forgotten("bob")) == ([rule], [])
    assert store.feedback.put_reviews([(review, None)], NOW, "ann", {"p1": "m"}) == (0, ()), "read again"
    assert [kept.review.comment for kept in store.feedback.reviews()] == [None]
    assert store.feedback.forget_comments(rule) == 0
    store.feedback.put_reviews([(review, None)], NOW, "bob", {"p1": "m"})
    store.feedback.put_reviews([(review, None)], later, "ann", {"p1": "m"})
    assert [kept.review.comment for kept in store.feedback.reviews()] == [None, "why", "why"]


@of_several_processes
def test_a_review_waits_for_a_rule_that_is_being_written(make_store):
    """Otherwise the rule would not cover it, and its deletion would not see it."""
    store, other = make_store(), make_store()
    review = Review(prediction_id="p1", verdict="reject", comment="why", consent=True)
    rule = ForgottenComments(source="ann", prediction=None, until=NOW)
    payload = rule.model_dump(mode="json")
    entry = Entry(at=NOW, actor="eve", kind=Event.COMMENTS_FORGOTTEN, model="-", payload=payload)
    put = threading.Thread(
        target=other.feedback.put_reviews, args=([(review, None)], NOW, "ann", {"p1": "m"})
    )
    with store.feedback._database.writing() as connection:
        append_entry(connection, entry)
        put.start()
        put.join(timeout=0.3)
        assert put.is_alive()
    put.join(timeout=60)
    assert [kept.review.comment for kept in store.feedback.reviews()] == [None]


def test_the_last_word_of_a_source_counts_in_whatever_order_it_arrives(make_store):
    """A repeat is no row, but the newest word against one that arrives late from another machine."""
    feedback, of = make_store().feedback, {"p1": "m"}
    first, second, third = (NOW + timedelta(seconds=place) for place in range(3))
    fixed = Review(prediction_id="p1", verdict="modify", value=1.0)
    other = Review(prediction_id="p1", verdict="modify", value=0.5)
    for review, at, changed in ((fixed, first, 1), (fixed, third, 0), (other, second, 1)):
        assert feedback.put_reviews([(review, review.value)], at, "ann", of) == (changed, ())
    for review, at in ((fixed, first), (fixed, third), (other, second)):
        assert feedback.put_reviews([(review, review.value)], at, "ann", of) == (0, ()), "read again"
    assert feedback.reviewed() == feedback.reviewed(since=second) == {"ann": {"p1": 1.0}}
    assert [(kept.at, kept.current) for kept in feedback.reviews()] == [(first, True), (second, False)]
    assert [(kept.at, kept.current) for kept in feedback.reviews(since=second)] == [(second, False)]
    taken = Review(prediction_id="p1", verdict="reject")
    assert feedback.put_reviews([(taken, None)], third + timedelta(seconds=1), "ann", of) == (1, ())
    assert feedback.reviewed().get("ann", {}) == {}


def test_changes_of_labels_and_reviews_are_told_in_the_order_of_their_storing(make_store):
    feedback, of, later = make_store().feedback, {"p1": "m", "p2": "n"}, NOW + timedelta(seconds=1)
    begin, none = feedback.label_changes("m", None)
    assert not none
    feedback.put({"p1": 1.0, "p2": 1.0}, NOW, "ci", of)
    first, told = feedback.label_changes("m", begin)
    assert (set(told), set(feedback.label_changes("n", begin)[1])) == ({"p1"}, {"p2"})
    assert feedback.label_changes("m", first) == (first, frozenset())
    feedback.put({"p1": 1.0}, later, "ci", of)  # the same again
    assert feedback.label_changes("m", first)[0] == first
    feedback.put({"p1": 0.0}, NOW - timedelta(days=3), "shop", of)  # a server's file that came late
    feedback.put({"p9": 0.0}, NOW, "ci")
    second, told = feedback.label_changes("m", first)
    assert set(told) == {"p1", "p9"}
    fixed = Review(prediction_id="p1", verdict="modify", value=1.0, comment="why", consent=True)
    places = [second]
    for change in (
        lambda: feedback.put_reviews([(fixed, 1.0)], NOW, "ann", of),
        lambda: feedback.put_reviews(
            [(fixed, 1.0)], later, "ann", of
        ),  # seen again: it may be the newest word
        lambda: feedback.forget_comments(ForgottenComments(source="ann", prediction=None, until=later)),
    ):
        change()
        place, told = feedback.label_changes("m", places[-1])
        assert set(told) == {"p1"}
        places.append(place)
    feedback.put_rewards({"p1": 3.0}, NOW, "ci")
    assert feedback.label_changes("m", places[-1]) == (places[-1], frozenset())
    assert feedback.label_changes("m", places[-1] + 1) == (places[-1], None), (
        "an earlier copy of the database"
    )
    asked = ["p1", "p2", "p3"]
    assert {s: dict(v) for s, v in feedback.labels_of(asked).items()} == {
        "ci": {"p1": 1.0, "p2": 1.0},
        "shop": {"p1": 0.0},
    }
    assert feedback.labels_of(["p3"]).get("ci", {}) == {}
    assert feedback.reviewed_of(asked) == {"ann": {"p1": 1.0}}


@of_several_processes
def test_who_has_read_a_number_has_seen_all_changes_before_it(make_store):
    """A change takes its number when it is stored, and another one waits for it."""
    feedback, other = make_store().feedback, make_store().feedback
    put = threading.Thread(target=other.put, args=({"p2": 1.0}, NOW, "ci", {"p2": "m"}))
    with feedback._database.writing() as connection:
        note_changes(connection, ["p1"], {"p1": "m"})
        put.start()
        put.join(timeout=0.3)
        assert put.is_alive()
        assert feedback.label_changes("m", 0) == (0, frozenset())
    put.join(timeout=60)
    newest, told = feedback.label_changes("m", 0)
    assert set(told) == {"p1", "p2"}
    assert set(feedback.label_changes("m", newest - 1)[1]) == {"p2"}


def test_many_labels(store):
    labels = {f"p{number}": float(number % 2) for number in range(1203)}
    assert store.feedback.put(labels, NOW, "ci") == 1203
    assert store.feedback.labels() == store.feedback.labels_of(labels) == {"ci": labels}


def in_parallel(count: int, work) -> list:
    results: list = [None] * count

    def run(number: int) -> None:
        try:
            results[number] = work(number)
        except ReleaseConflict as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return results


@of_several_processes
def test_first_use_by_several_at_once_and_one_chain(make_store):
    in_parallel(6, lambda number: [make_store().ledger.append(an_entry(f"{number}.{i}")) for i in range(5)])
    rows = make_store().ledger.rows()
    assert (len(rows), verify(rows)) == (30, None)


@of_several_processes
def test_a_snapshot_is_of_one_moment_while_others_append(make_store):
    make_store().ledger.append(an_entry("first"))

    def work(number: int) -> list[tuple[int, str]]:
        ledger, torn = make_store().ledger, []
        for i in range(15):
            if number < 2:
                ledger.append(an_entry(f"{number}.{i}"))
            else:
                end, rows = ledger.snapshot()
                torn += [] if end == (rows[-1].seq, rows[-1].hash) else [end]
        return torn

    assert in_parallel(4, work) == [[]] * 4


@of_several_processes
def test_of_several_that_take_a_channel_at_once_one_gets_it(make_store):
    until = NOW + timedelta(minutes=1)
    found = in_parallel(6, lambda number: make_store().deliveries.take("1-json", 0, NOW, until))
    assert sum(one is not None for one in found) == 1


@of_several_processes
def test_of_several_that_save_at_once_one_wins(make_store):
    first = make_store().releases.save(a_status(), None, [])
    results = in_parallel(
        6, lambda number: make_store().releases.save(first, first.revision, [an_entry(str(number))])
    )
    assert sum(isinstance(one, ReleaseStatus) for one in results) == 1
    assert sum(isinstance(one, ReleaseConflict) for one in results) == 5
    assert len(make_store().ledger.rows()) == 1


def test_changed_table_is_found(tmp_path):
    import sqlite3

    store = SqlStore(f"sqlite:///{tmp_path}/p.db")
    for kind in "abc":
        store.ledger.append(an_entry(kind))
    with sqlite3.connect(tmp_path / "p.db") as connection:
        connection.execute("UPDATE perennial_ledger SET entry = replace(entry, 'ann', 'bob') WHERE seq = 2")
    assert verify(store.ledger.rows()) == 2
    with sqlite3.connect(tmp_path / "p.db") as connection:
        connection.execute("UPDATE perennial_ledger SET entry = '{}' WHERE seq = 2")
    with pytest.raises(LedgerBroken, match="entry 2"):
        store.ledger.rows()


@of_several_processes
def test_a_note_of_the_end_that_was_set_back_or_lost_is_no_conflict(make_store):
    running = make_store()
    saved = running.releases.save(a_status(), None, [an_entry("a"), an_entry("b")])
    for change in (
        tables.ledger_head.update().values(seq=0, hash=GENESIS),
        tables.ledger_head.delete(),
    ):
        with running.ledger._database.writing() as connection:
            connection.execute(change)
        for store in (running, make_store()):
            with pytest.raises(LedgerBroken):
                store.releases.save(saved, saved.revision, [an_entry("c")])
            with pytest.raises(LedgerBroken):
                check(store.ledger, None, None, lambda *_: True)
            assert [row.entry.kind for row in store.ledger.rows()] == ["a", "b"]


def test_database_that_does_not_answer(tmp_path):
    store = SqlStore("postgresql+psycopg://ann:secret@127.0.0.1:1/x")
    with pytest.raises(StoreUnavailable) as told:
        store.releases.latest(MODEL)
    assert "secret" not in told.value.message
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable):
        SqlStore(f"sqlite:///{tmp_path}/file/p.db").ledger.rows()
    with pytest.raises(SettingsError):
        SqlStore("nonsense")


def test_quick_reads_of_sqlite_say_the_same(tmp_path):
    reads = SqliteReads(tmp_path / "p.db")
    assert (reads.rows(MODEL, kinds="ac"), reads.find("t")) == ([], None)
    ledger = SqlStore(f"sqlite:///{tmp_path}/p.db").ledger
    for kind in "abca":
        ledger.append(an_entry(kind))
    ledger.append(an_entry("a", "other"))
    assert reads.rows(MODEL, kinds="ac") == ledger.rows(MODEL, kinds="ac")
    assert len(reads.rows(MODEL, kinds="ac")) == 3
