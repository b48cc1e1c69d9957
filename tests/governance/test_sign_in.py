"""Delays after failed sign-ins: guesses get slow, people at work do not notice, and memory is bounded."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from doubles.releases import MemoryLedger

from perennial.core.events import Event, SystemActor
from perennial.core.governance import sign_in
from perennial.core.governance.sign_in import ALLOWED, COMPARED, LONGEST, NO_ACCOUNT, SignIns
from perennial.errors import StoreUnavailable
from perennial.flows.governance.sign_ins import SignInGuard

GOOD, BAD = b"good", b"bad"


def fail(book: SignIns, account: str, now: float, address: str | None = None) -> float:
    wait = book.begin(account, address, BAD, now)
    if wait == 0.0:
        book.refused(account, BAD)
    return wait


def test_delays_grow_up_to_a_limit_and_end_after_a_pause():
    book, now, looked_at = SignIns(), 0.0, 0
    while now < 3600:
        looked_at += fail(book, "ann", now) == 0.0
        now += 0.5
    assert looked_at < ALLOWED + 3600 / LONGEST + 7
    assert fail(book, "ann", now + sign_in.FORGOTTEN + 1) == 0.0


def test_others_and_who_signed_in_before_are_not_locked_out():
    book = SignIns()
    assert book.begin("ann", None, GOOD, 0.0) == 0.0
    book.accepted("ann", None, GOOD)
    for _ in range(50):
        fail(book, "ann", 1.0)
    assert fail(book, "ann", 1.0) > 0
    assert book.begin("ann", None, GOOD, 1.0) == 0.0, "the known password is looked at"
    assert book.begin("ben", None, GOOD, 1.0) == 0.0
    book.refused("ann", GOOD)  # the password was changed
    assert book.begin("ann", None, GOOD, 1.0) > 0


def test_who_knows_the_password_may_ask_as_often_as_work_needs():
    """A training logs in hundreds of requests a second; guesses are counted, not its requests."""
    book = SignIns()
    book.know("training", GOOD)
    for _ in range(20 * COMPARED):
        assert book.begin("training", None, GOOD, 1.5) == 0.0
        book.accepted("training", None, GOOD)


def test_attempts_at_the_same_time_count_before_they_end():
    book = SignIns()
    begun = [book.begin("ann", None, str(number).encode(), 0.0) for number in range(100)]
    assert begun.count(0.0) == ALLOWED


def test_one_password_tried_at_all_accounts_is_delayed_by_address_but_not_on_loopback():
    book = SignIns()
    far = [fail(book, f"a{number}", 0.0, "192.0.2.7") for number in range(200)]
    assert far.count(0.0) == sign_in.ALLOWED_ADDRESS
    assert fail(book, "ann", 0.0, "192.0.2.8") == 0.0
    assert [fail(book, f"b{number}", 0.0) for number in range(200)].count(0.0) == 200


def test_names_that_are_no_account_and_addresses_are_bounded():
    ledger = MemoryLedger()
    guard = SignInGuard(
        SystemActor.MLFLOW, {"ann"}.__contains__, ledger, b"k" * 32, lambda: 0.0, lambda: datetime.now(UTC)
    )
    for number in range(3000):
        guard.check(f"n{number}", "x", f"192.0.{number % 250}.{number // 250}", lambda: False)
    book = guard._sign_ins
    assert set(book._accounts) == {NO_ACCOUNT}
    assert len(book._addresses) <= sign_in.KEPT
    assert len(ledger.rows()) == 1


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_the_ledger_gets_the_first_and_then_one_a_minute_with_the_number():
    ledger, clock = MemoryLedger(), Clock()
    guard = SignInGuard(
        SystemActor.MLFLOW, {"ann"}.__contains__, ledger, b"k" * 32, clock, lambda: datetime.now(UTC)
    )
    answers = []
    for _ in range(600):
        answers.append(guard.check("ann", "guess", "127.0.0.1", lambda: False))
        clock.seconds += 0.25
    assert None in answers
    assert max(answer or 0 for answer in answers) == LONGEST
    clock.seconds += 61
    assert guard.check("ann", "right", None, lambda: True) == 0
    rows = [row.entry for row in ledger.rows()]
    assert {entry.kind for entry in rows} == {Event.SIGN_IN_REFUSED}
    assert rows[0].payload["attempts"] == 1
    assert sum(entry.payload["attempts"] for entry in rows) == 600
    assert len(rows) == 4
    assert "guess" not in repr(rows)


def test_without_a_database_nobody_is_locked_out_and_the_number_comes_later(monkeypatch):
    ledger, clock = MemoryLedger(), Clock()
    guard = SignInGuard(
        SystemActor.AIRFLOW, {"ann"}.__contains__, ledger, b"k" * 32, clock, lambda: datetime.now(UTC)
    )
    with monkeypatch.context() as broken:
        broken.setattr(ledger, "append", lambda entry: (_ for _ in ()).throw(StoreUnavailable("gone")))
        assert guard.check("ann", "guess", None, lambda: False) is None
    clock.seconds = 61
    assert guard.check("ann", "right", None, lambda: True) == 0
    assert [row.entry.payload for row in ledger.rows()] == [{"account": "ann", "attempts": 1}]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", None, "unix"])
def test_loopback_is_shared_by_all(address):
    guard = SignInGuard(
        SystemActor.MLFLOW, lambda name: True, MemoryLedger(), b"k", lambda: 0.0, lambda: datetime.now(UTC)
    )
    for number in range(300):
        assert guard.check(f"a{number}", "x", address, lambda: False) is None


@pytest.mark.parametrize("known", [{"olga": "right"}, {}])
def test_somebody_who_guesses_five_times_a_second_keeps_nobody_out(known):
    """Olga has not signed in since the start; of an unknown password she waits LONGEST at most at a time."""
    clock = Clock()
    guard = SignInGuard(
        SystemActor.MLFLOW,
        {"olga"}.__contains__,
        MemoryLedger(),
        b"k",
        clock,
        lambda: datetime.now(UTC),
        known,
    )
    looked_at = 0
    for _ in range(1500):
        looked_at += guard.check("olga", "guess", None, lambda: False) is None
        clock.seconds += 0.2
    assert looked_at <= ALLOWED + 300 / LONGEST + 1
    waited = guard.check("olga", "right", None, lambda: True)
    assert waited == 0 if known else waited <= LONGEST


def test_a_flood_of_guesses_is_not_compared_with_the_known_password():
    book = SignIns()
    book.know("ann", GOOD)
    for _ in range(COMPARED):
        fail(book, "ann", 7.5)
    assert book.begin("ann", None, GOOD, 7.9) > 0.0
    assert book.begin("ann", None, GOOD, 8.0) == 0.0
