"""Issue and revoke tokens, and find the account that a token signs in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from perennial.core.events import Entry, Event, SystemActor
from perennial.core.governance.identity import PEOPLE, STEERING, Account, Role, SignedIn, may_steer
from perennial.core.governance.secret_text import hashed, name_in, opens, written
from perennial.core.governance.tokens import MARK, MAX_AGE, Token
from perennial.core.payloads import TokenFact
from perennial.errors import NotAllowed, NotSignedIn, UsageError
from perennial.ports import Ledger, TokenStore

NO_MODEL = ""
"""Model of a ledger entry that is about no model."""
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
    """Issue a token; return it and its text. The text is stored nowhere, and shown only after the ledger has the entry.

    Args:
        issuer: the admin whose credential was given. Approvals by tokens of the same issuer count as one person's.
        known: the accounts of this installation; only they get tokens, with their role.
        random: number of bytes -> random bytes as hexadecimal text.

    Raises:
        UsageError: a role that people do not have, no such account, another role than the account's, or a
            time that is not positive or longer than MAX_AGE.
    """
    if role not in PEOPLE:
        raise UsageError(f"nobody gets a token as {role}", hint=f"roles: {', '.join(PEOPLE)}")
    holder = next((holder for holder in known if holder.name == account), None)
    if holder is None:
        raise UsageError(
            f"there is no account {account!r}", hint="perennial local accounts; PERENNIAL_PEOPLE"
        )
    if holder.role is not role:
        raise UsageError(f"the account {account} is {holder.role}, not {role}", hint="PERENNIAL_PEOPLE")
    if not timedelta(0) < valid <= MAX_AGE:
        raise UsageError(f"a token is valid for at most {MAX_AGE.days} days", hint="--days 30")
    token_id = random(6)
    text = written(MARK, token_id, random(32))
    token = Token(
        id=token_id,
        account=account,
        role=role,
        sha256=hashed(text),
        issued_at=now,
        issued_by=issuer,
        expires_at=now + valid,
    )
    store.put(token)
    ledger.append(_entry(Event.TOKEN_ISSUED, token, issuer, now, expires=token.expires_at.isoformat()))
    return token, text


def revoke(token_id: str, actor: str, store: TokenStore, ledger: Ledger, now: datetime) -> Token:
    """Revoke a token at once. Repeating changes nothing, but writes a ledger entry that a kill prevented.

    Raises:
        UsageError: no token has this id.
    """
    token = store.revoke(token_id, now)
    if token is None:
        raise UsageError(f"there is no token {token_id!r}", hint="perennial token list")
    known = ledger.rows(NO_MODEL, kinds=(Event.TOKEN_REVOKED,))
    if not any(TokenFact.read(row.entry).id == token_id for row in known):
        ledger.append(_entry(Event.TOKEN_REVOKED, token, actor, now))
    return token


def _entry(kind: Event, token: Token, actor: str, now: datetime, **more: str) -> Entry:
    payload = {"id": token.id, "account": token.account, "role": token.role.value, **more}
    return Entry(at=now, actor=actor, kind=kind, model=NO_MODEL, payload=payload)


def revoke_left(known: tuple[Account, ...], store: TokenStore, ledger: Ledger, now: datetime) -> list[Token]:
    """Revoke the tokens that no account holds any more; return these tokens."""
    revoked = []
    for token in store.all():
        if token.state(now) == "active" and not any(map(token.is_of, known)):
            revoked.append(revoke(token.id, SystemActor.ACCOUNTS, store, ledger, now))
    return revoked


def signed_in(text: str, known: tuple[Account, ...], store: TokenStore, now: datetime) -> SignedIn:
    """Return the account that a token signs in.

    Args:
        known: the accounts of this installation.

    Raises:
        NotSignedIn: the token was not issued here, is expired or revoked, or no account holds it any more.
    """
    token_id = name_in(MARK, text)
    stored = store.find(token_id) if token_id else None
    if stored is None or not opens(text, stored):
        raise NotSignedIn("PERENNIAL_TOKEN is no token that was issued here", hint=HINT)
    if stored.state(now) != "active":
        raise NotSignedIn(f"the token {stored.id} of {stored.account} is {stored.state(now)}", hint=HINT)
    same = [account for account in known if (account.name, account.role) == (stored.account, stored.role)]
    if not same:
        raise NotSignedIn(f"there is no account {stored.account} with the role {stored.role}", hint=HINT)
    if not any(map(stored.is_of, same)):
        raise NotSignedIn(
            f"the token {stored.id} of {stored.account} has ended with the session that it was made in",
            hint=HINT,
        )
    return stored.holder


def who_steers(
    text: str | None, action: str, known: tuple[Account, ...], store: TokenStore, now: datetime
) -> SignedIn:
    """Return the account that may give the command `action` of `STEERING`.

    Raises:
        NotSignedIn: there is no valid token.
        NotAllowed: the account's role does not allow the action.
    """
    if not text:
        raise NotSignedIn(f"nobody is signed in: {action} needs a token", hint=HINT)
    account = signed_in(text, known, store, now)
    if not may_steer(account.role, action):
        raise NotAllowed(
            f"{account.name} has the role {account.role}: {action} needs {' or '.join(sorted(STEERING[action]))}",
            hint="ask somebody who has it",
        )
    return account
