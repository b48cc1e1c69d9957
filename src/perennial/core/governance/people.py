"""People who sign in at an issuer, as the ledger tells: whose account a name is, its role, and valid sessions. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from pydantic import AwareDatetime, Field

from perennial.core.events import Entry, Event, LedgerRow, Payload
from perennial.core.frozen import Frozen
from perennial.core.governance.identity import IssuerAccount, Role

KINDS = (Event.SIGNED_IN, Event.SIGNED_OUT)
"""Entries that `People` reads."""


class Why(StrEnum):
    """Why sessions of a person ended."""

    ASKED = "the person signed out"
    NO_ROLE = "the issuer gives no role any more"
    ENDED = "an admin ended them"
    RELEASED = "an admin released the name"
    """The next who signs in with this name gets it, whoever that is at the issuer."""


class SignedInFact(Payload):
    """Payload of SIGNED_IN."""

    account: str
    role: Role
    issuer: str
    subject: str
    server: str = Field(description="SystemActor whose page was signed in to")


class SignedOutFact(Payload):
    """Payload of SIGNED_OUT."""

    account: str
    why: Why


class Person(Frozen):
    """Account of a person at an issuer. A session is named by the entry of its sign-in."""

    account: str
    role: Role
    issuer: str
    subject: str
    signed_in: AwareDatetime = Field(description="of the last sign-in")
    since: int = Field(description="number of the first entry whose session is valid")
    since_at: AwareDatetime = Field(description="time of that entry")
    named_at: AwareDatetime = Field(description="of the first sign-in under this name")
    active: bool = Field(True, description="False: an admin or the issuer took the role away")

    def holds(self, session: int) -> bool:
        """Return whether the session of this sign-in is still valid."""
        return self.active and session >= self.since

    @property
    def holder(self) -> IssuerAccount:
        return IssuerAccount(name=self.account, role=self.role, named=self.named_at, since=self.since_at)


def fold(people: dict[str, Person], rows: Iterable[LedgerRow]) -> dict[str, Person]:
    """Return the people by account after these rows.

    A name stays with the subject that had it first, and a subject keeps its name. A changed role ends earlier
    sessions, which would have the old one.
    """
    people = dict(people)
    for row in rows:
        if row.entry.kind == Event.SIGNED_IN:
            fact = SignedInFact.read(row.entry)
            before = people.get(fact.account)
            if before is not None and (before.issuer, before.subject) != (fact.issuer, fact.subject):
                continue
            at = row.entry.at
            since, since_at = row.seq, at
            if before is not None and before.active and before.role is fact.role:
                since, since_at = before.since, before.since_at
            people[fact.account] = Person(
                account=fact.account, role=fact.role, issuer=fact.issuer, subject=fact.subject, signed_in=at,
                since=since, since_at=since_at, named_at=at if before is None else before.named_at,
            )  # fmt: skip
        elif row.entry.kind == Event.SIGNED_OUT:
            out = SignedOutFact.read(row.entry)
            if out.account not in people:
                continue
            if out.why is Why.RELEASED:
                del people[out.account]
                continue
            kept = people[out.account]
            people[out.account] = kept.model_copy(
                update={
                    "since": row.seq,
                    "since_at": row.entry.at,
                    "active": kept.active and out.why is Why.ASKED,
                }
            )
    return people


def of_subject(people: dict[str, Person], issuer: str, subject: str) -> Person | None:
    """Return the person who is this subject at the issuer."""
    same = (person for person in people.values() if (person.issuer, person.subject) == (issuer, subject))
    return next(same, None)


def signed_in(at: AwareDatetime, fact: SignedInFact) -> Entry:
    """Return the entry of a sign-in."""
    payload = fact.model_dump(mode="json")
    return Entry(at=at, actor=fact.account, kind=Event.SIGNED_IN, model="", payload=payload)


def signed_out(at: AwareDatetime, account: str, actor: str, why: Why) -> Entry:
    """Return the entry that ends all sessions of a person."""
    payload = SignedOutFact(account=account, why=why).model_dump(mode="json")
    return Entry(at=at, actor=actor, kind=Event.SIGNED_OUT, model="", payload=payload)
