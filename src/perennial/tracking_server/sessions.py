"""Sessions in MLflow of people who signed in at the issuer: a signed cookie, valid while the ledger holds it so."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from itsdangerous import BadSignature, URLSafeTimedSerializer

from perennial.core.events import SystemActor
from perennial.core.governance.oidc import Oidc, origin_of
from perennial.core.governance.people import Person
from perennial.errors import NotAllowed, NotSignedIn
from perennial.flows.governance import identity
from perennial.flows.governance.people import People, holders, sign_out
from perennial.ports import Ledger, TokenStore
from perennial.settings import Settings
from perennial.wiring import database
from perennial.wiring import people as wiring

if TYPE_CHECKING:
    from flask import Request as FlaskRequest
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

FOLDER = "/oidc"
"""Path of the pages."""
COOKIE = "perennial_mlflow"
READS = frozenset({"GET", "HEAD", "OPTIONS"})
FORM = '<form method="post"><button>Make a token</button></form>'


@dataclass(frozen=True)
class Session:
    """A valid session and when it ends."""

    person: Person
    ends: datetime


class Sessions:
    """Cookies of people, and who they are.

    Args:
        key: signs the cookies.
        address: MLflow as browsers reach it.
    """

    def __init__(self, oidc: Oidc, people: People, key: str, address: str) -> None:
        self._issuer, self._life, self._people = oidc.issuer, timedelta(hours=oidc.hours), people
        self._signer = URLSafeTimedSerializer(key, salt="perennial.session")
        self._secure = address.startswith("https:")
        self._origin = origin_of(address)

    def begin(self, person: Person, session: int, answer: Response) -> None:
        """Set the cookie of a session."""
        text = self._signer.dumps([person.account, session])
        answer.set_cookie(
            COOKIE, str(text), max_age=int(self._life.total_seconds()), secure=self._secure, httponly=True,
            samesite="lax",
        )  # fmt: skip

    def read(self, cookie: str | None) -> Session | None:
        """Return the session of a cookie, None where there is no valid one."""
        try:
            (account, session), made = self._signer.loads(
                cookie or "", max_age=self._life.total_seconds(), return_timestamp=True
            )
        except BadSignature:  # also expired
            return None
        person = self._people.who(account, session, self._issuer)
        return None if person is None else Session(person, made + self._life)

    def of_request(self, request: FlaskRequest) -> Person | None:
        """Return the person of MLflow's request, None where nobody is signed in.

        What changes something has to come from MLflow's own pages: those of other ports are of the same site for a
        browser, which sends its cookies along.
        """
        if request.method not in READS and request.headers.get("Origin") != self._origin:
            return None
        session = self.read(request.cookies.get(COOKIE))
        return session.person if session is not None else None

    def of_token(self, text: str, tokens: TokenStore, now: datetime) -> Person | None:
        """Return the person who made a token on the page of tokens, None where it signs nobody in.

        A token that an admin issued counts on the command line only, which knows that two of them are one person's.
        """
        people = self._people.all()
        try:
            holder = identity.signed_in(text, holders(people, self._issuer), tokens, now)
        except NotSignedIn:
            return None
        return people[holder.name] if holder.issued_by == holder.name else None

    def same_origin(self, request: Request) -> bool:
        """Return whether a form was sent by a page of this server."""
        return request.headers.get("origin") == self._origin


def is_navigation(request: FlaskRequest) -> bool:
    """Return whether a browser opens a page, which then leads to the sign-in; calls get an error instead."""
    return request.method == "GET" and "text/html" in request.headers.get("Accept", "")


def login_path(request: FlaskRequest) -> str:
    """Return the address of the sign-in that comes back to the page of this request."""
    query = request.query_string.decode("ascii", "ignore")
    return f"{FOLDER}/login?next={quote(request.path + ('?' + query if query else ''), safe='/')}"


def pages(
    settings: Settings,
    sessions: Sessions,
    people: People,
    ledger: Ledger,
    key: str,
    is_foreign: Callable[[str], bool],
    admit: Callable[[Person], None],
) -> Starlette:
    """Return the pages below FOLDER.

    Args:
        is_foreign: whether MLflow has an account of this name that the issuer did not give.
        admit: makes or changes the person's account in MLflow.
    """
    from starlette.concurrency import run_in_threadpool

    from perennial.adapters.oidc.pages import page

    desk = wiring.desk(settings, SystemActor.MLFLOW, people, ledger, is_foreign)
    tokens = database.tokens(settings)

    def enter(claims: Mapping[str, Any], answer: Response) -> None:
        person, session = desk.enter(claims)
        admit(person)
        sessions.begin(person, session, answer)

    def leave(request: Request, answer: Response) -> None:
        session = sessions.read(request.cookies.get(COOKIE))
        if session is not None:
            sign_out(session.person.account, people, ledger, datetime.now(UTC))
        answer.delete_cookie(COOKIE)

    async def token(request: Request) -> Response:
        session = await run_in_threadpool(sessions.read, request.cookies.get(COOKIE))
        if session is None:
            raise NotSignedIn("nobody is signed in", hint="sign in, then open this page again")
        who = f"{session.person.account}, {session.person.role}"
        if request.method == "GET":
            text = f"{who}: a token for the command line, valid until this session ends."
            return page("Token", text, more=FORM)
        if not sessions.same_origin(request):
            raise NotAllowed("this form is of another page", hint="open it here")
        made = await run_in_threadpool(issue, session, tokens, ledger)
        return page("Token", f"{who}, until {session.ends:%Y-%m-%d %H:%M} UTC; shown only once: {made}")

    address = settings.sign_in_url("mlflow") + FOLDER
    return wiring.pages(settings, SystemActor.MLFLOW, address, key, enter, leave, {"token": token})


def issue(session: Session, tokens: TokenStore, ledger: Ledger) -> str:
    """Issue a token to the person of a session, by that person, and return its text."""
    now, person = datetime.now(UTC), session.person
    return identity.issue(
        person.account, person.role, session.ends - now, person.account, (person.holder,), tokens, ledger, now,
        secrets.token_hex,
    )[1]  # fmt: skip
