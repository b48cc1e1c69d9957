"""People who sign in at an issuer: begin and end their sessions, and say whose they are. The ledger keeps all of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from threading import Lock
from typing import Any

from perennial.core.events import Entry, Event, SystemActor
from perennial.core.governance import people as rules
from perennial.core.governance.identity import IssuerAccount
from perennial.core.governance.oidc import Oidc, account_name, role_of, subject_of
from perennial.core.governance.people import Person, SignedInFact, Why
from perennial.errors import NotAllowed, UsageError
from perennial.flows.governance.identity import NO_MODEL
from perennial.ports import Ledger

FRESH = 2.0
"""Seconds for which a process takes its view of the ledger as the newest."""
RECORD_EVERY = 60.0
"""Seconds between two entries about the same refused person."""


class People:
    """View of one process on the people in the ledger; reads only what is new there."""

    def __init__(self, ledger: Ledger, seconds: Callable[[], float]) -> None:
        self._ledger, self._seconds, self._lock = ledger, seconds, Lock()
        self._people: dict[str, Person] = {}
        self._last, self._read_at = 0, float("-inf")

    def all(self, *, newest: bool = False) -> dict[str, Person]:
        """Return the people by account, at most FRESH seconds old, or the newest."""
        with self._lock:
            if newest or self._seconds() - self._read_at >= FRESH:
                rows = self._ledger.rows(NO_MODEL, kinds=rules.KINDS, after=self._last)
                self._people = rules.fold(self._people, rows)
                self._last = rows[-1].seq if rows else self._last
                self._read_at = self._seconds()
            return self._people

    def who(self, account: str, session: int, issuer: str) -> Person | None:
        """Return the person whose session this is, None where it ended.

        Args:
            session: sequence number of the entry of its sign-in.
            issuer: who is at another issuer has no session.
        """
        person = self.all(newest=session > self._last).get(account)
        return person if person is not None and person.issuer == issuer and person.holds(session) else None


class SignInDesk:
    """Where verified claims become an account and a session.

    Args:
        server: whose page it is.
        is_foreign: whether the server has an account of this name that no issuer gave.
        seconds: a clock that never goes back.
    """

    def __init__(
        self,
        oidc: Oidc,
        server: SystemActor,
        people: People,
        ledger: Ledger,
        is_foreign: Callable[[str], bool],
        now: Callable[[], datetime],
        seconds: Callable[[], float],
    ) -> None:
        self._oidc, self._server, self._people, self._ledger = oidc, server, people, ledger
        self._is_foreign, self._now, self._seconds = is_foreign, now, seconds
        self._refused: dict[str, float] = {}

    def enter(self, claims: Mapping[str, Any]) -> tuple[Person, int]:
        """Begin a session; return the person and the number of its entry.

        Raises:
            NotAllowed: no role, or a name that belongs to somebody else. The ledger has it, and earlier sessions of
                a person without a role have ended.
        """
        subject = subject_of(claims)
        known = rules.of_subject(self._people.all(newest=True), self._oidc.issuer, subject)
        try:
            role = role_of(claims, self._oidc)
            name = known.account if known is not None else account_name(claims, self._oidc)
            if name in self._oidc.taken or self._is_foreign(name):
                raise NotAllowed(
                    f"{name} is a local account", hint="another name at the issuer; PERENNIAL_PEOPLE"
                )
            self._refuse_other(name, subject)
        except NotAllowed as error:
            self._record(subject, known, error)
            raise
        fact = SignedInFact(
            account=name, role=role, issuer=self._oidc.issuer, subject=subject, server=self._server.value
        )
        session = self._ledger.append(rules.signed_in(self._now(), fact)).seq
        self._refuse_other(name, subject)  # of two who take a name at once, the first has it
        return self._people.all()[name], session

    def _refuse_other(self, name: str, subject: str) -> None:
        """Refuse a name that belongs to another subject.

        Raises:
            NotAllowed: it does.
        """
        person = self._people.all(newest=True).get(name)
        if person is not None and (person.issuer, person.subject) != (self._oidc.issuer, subject):
            raise NotAllowed(
                f"{name} belongs to another person at the issuer",
                hint="perennial people release, by the admin",
            )

    def _record(self, subject: str, known: Person | None, error: NotAllowed) -> None:
        """Record a refusal, at most once a minute and person, and end the sessions of who has no role any more."""
        now = self._now()
        if known is not None and known.active:
            self._ledger.append(rules.signed_out(now, known.account, self._server, Why.NO_ROLE))
            self._people.all(newest=True)
        last = self._refused.get(subject)
        if last is not None and self._seconds() - last < RECORD_EVERY:
            return
        account = known.account if known is not None else "no account"
        payload = {"account": account, "attempts": 1, "subject": subject, "why": error.message}
        self._ledger.append(
            Entry(at=now, actor=self._server, kind=Event.SIGN_IN_REFUSED, model=NO_MODEL, payload=payload)
        )
        if len(self._refused) > 1000:
            self._refused.clear()
        self._refused[subject] = self._seconds()


def sign_out(account: str, people: People, ledger: Ledger, now: datetime) -> None:
    """End all sessions of a person who asks for it."""
    if account in people.all(newest=True):
        ledger.append(rules.signed_out(now, account, account, Why.ASKED))
        people.all(newest=True)


def end(account: str, actor: str, why: Why, people: People, ledger: Ledger, now: datetime) -> Person:
    """End the sessions of a person, the tokens made in them and others until the next sign-in; or release the name.

    Raises:
        UsageError: nobody with this account has signed in at the issuer.
    """
    person = people.all(newest=True).get(account)
    if person is None:
        raise UsageError(f"{account} has not signed in at the issuer", hint="perennial people list")
    ledger.append(rules.signed_out(now, account, actor, why))
    people.all(newest=True)
    return person


def holders(people: Mapping[str, Person], issuer: str) -> tuple[IssuerAccount, ...]:
    """Return the accounts of the people whose role the issuer gave and nobody has taken."""
    return tuple(person.holder for person in people.values() if person.active and person.issuer == issuer)
