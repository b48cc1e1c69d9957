"""Issue tokens, and tell from one who acts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from perennial.core.events import Entry, Event, SystemActor
from perennial.core.governance import tokens
from perennial.core.governance.identity import NAME, PEOPLE, STEERING, Account, Role, may_steer
from perennial.core.governance.tokens import Token
from perennial.core.payloads import TokenFact
from perennial.errors import NotAllowed, NotSignedIn, UsageError
from perennial.ports import Ledger, TokenStore

NO_MODEL = ""
"""What the ledger names where an entry is about no model."""
HINT = "perennial token issue ACCOUNT --role approver, then set PERENNIAL_TOKEN to what it prints"


def issue(
    account: str,
    role: Role,
    valid: timedelta,
    issuer: str,
    known: tuple[Account, ...],
    store: TokenStore,
    ledger: Ledger,
    now: datetime,
    random: Callable[[int], str],
) -> tuple[Token, str]:
    """A new token and its text, which is kept nowhere and is not shown before the ledger knows of it.

    Args:
        known: the accounts of this installation; such a name has the role that it has there.
        random: bytes -> as many random bytes as hexadecimal text.

    Raises:
        UsageError: no such role for people, a name that is none, or an account of another role.
    """
    if role not in PEOPLE:
        raise UsageError(f"nobody gets a token as {role}", hint=f"roles: {', '.join(PEOPLE)}")
    if not NAME.fullmatch(account):
        raise UsageError(f"{account!r} is no account name", hint="small letters, digits, - and _")
    for one in known:
        if one.name == account and one.role is not role:
            raise UsageError(f"the account {account} is {one.role}, not {role}", hint="PERENNIAL_PEOPLE")
    if valid <= timedelta(0):
        raise UsageError("a token must be valid for some time", hint="--valid P30D")
    token_id = random(6)
    text = tokens.written(token_id, random(32))
    made = Token(
        id=token_id,
        account=account,
        role=role,
        sha256=tokens.hashed(text),
        issued_at=now,
        issued_by=issuer,
        expires_at=now + valid,
    )
    store.put(made)
    ledger.append(_entry(Event.TOKEN_ISSUED, made, issuer, now, expires=made.expires_at.isoformat()))
    return made, text


def revoke(token_id: str, actor: str, store: TokenStore, ledger: Ledger, now: datetime) -> Token:
    """End a token at once; again changes nothing, and writes what a kill has left out of the ledger.

    Raises:
        UsageError: no token has this id.
    """
    found = store.revoke(token_id, now)
    if found is None:
        raise UsageError(f"there is no token {token_id!r}", hint="perennial token list")
    known = ledger.rows(NO_MODEL, kinds=(Event.TOKEN_REVOKED,))
    if not any(TokenFact.read(row.entry).id == token_id for row in known):
        ledger.append(_entry(Event.TOKEN_REVOKED, found, actor, now))
    return found


def _entry(kind: Event, token: Token, actor: str, now: datetime, **more: str) -> Entry:
    told = {"id": token.id, "account": token.account, "role": token.role.value, **more}
    return Entry(at=now, actor=actor, kind=kind, model=NO_MODEL, payload=told)


def revoke_left(
    before: Mapping[str, Role], known: tuple[Account, ...], store: TokenStore, ledger: Ledger, now: datetime
) -> list[Token]:
    """End the tokens of accounts that are no longer known, or have another role; returns those that it ended.

    Args:
        before: name -> role, of the accounts of this installation until now. What was issued to a name that is
            in neither stays.
    """
    roles = {one.name: one.role for one in known}
    ended = []
    for one in store.all():
        left = one.account in before and one.account not in roles
        if one.state(now) == "active" and (left or roles.get(one.account, one.role) is not one.role):
            ended.append(revoke(one.id, SystemActor.ACCOUNTS, store, ledger, now))
    return ended


def signed_in(text: str, store: TokenStore, now: datetime) -> Account:
    """The account that the token signs in. Setting up ends the tokens of who left or has another role.

    Raises:
        NotSignedIn: it is none that was issued, or it counts no longer.
    """
    token_id = tokens.id_of(text)
    stored = store.find(token_id) if token_id is not None else None
    if stored is None or not tokens.opens(text, stored):
        raise NotSignedIn("PERENNIAL_TOKEN is no token that was issued here", hint=HINT)
    if stored.state(now) != "active":
        raise NotSignedIn(f"the token {stored.id} of {stored.account} is {stored.state(now)}", hint=HINT)
    return stored.holder


def who_steers(text: str | None, action: str, store: TokenStore, now: datetime) -> str:
    """The account that says `action` to a release.

    Raises:
        NotSignedIn: without a token that counts nobody steers.
        NotAllowed: the role of the account does not allow it.
    """
    if not text:
        raise NotSignedIn(f"nobody is signed in: {action} needs a token", hint=HINT)
    account = signed_in(text, store, now)
    if not may_steer(account.role, action):
        raise NotAllowed(
            f"{account.name} has the role {account.role}: {action} needs {' or '.join(sorted(STEERING[action]))}",
            hint="ask somebody who has it",
        )
    return account.name
