"""Sessions in Airflow of people who signed in at the issuer: Airflow's own token, while the ledger holds it valid."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from airflow.api_fastapi.app import AUTH_MANAGER_FASTAPI_APP_PREFIX, get_cookie_path
from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.configuration import conf
from jwt import InvalidTokenError

from perennial.core.events import SystemActor
from perennial.core.governance.identity import AIRFLOW_ROLES, Role
from perennial.core.governance.oidc import Oidc
from perennial.core.governance.people import Person
from perennial.flows.governance.people import People, sign_out
from perennial.ports import Ledger
from perennial.settings import load
from perennial.wiring import people as wiring

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

FOLDER = f"{AUTH_MANAGER_FASTAPI_APP_PREFIX}/oidc"
"""Path of the pages."""
SESSION = "signed_in"
"""Key in Airflow's token: number of the entry of the sign-in."""


class IssuerUser(SimpleAuthManagerUser):
    """User of Airflow who signed in at the issuer."""

    def __init__(self, person: Person, session: int) -> None:
        super().__init__(username=person.account, role=AIRFLOW_ROLES[person.role])
        self.session = session


@cache
def issuer() -> Oidc | None:
    """Return the issuer of this installation; None where people have passwords."""
    return load().oidc


@cache
def _people() -> tuple[People, Ledger]:
    return wiring.people(load())


def user_of(token: Mapping[str, Any]) -> IssuerUser | None:
    """Return the user of a verified token; None for an account with a password.

    Raises:
        ValueError: its session has ended, or there is no issuer any more.
    """
    oidc, session = issuer(), token.get(SESSION)
    if session is None:
        return None
    person = _people()[0].who(token["sub"], session, oidc.issuer) if oidc is not None else None
    if person is None:
        raise ValueError(f"the session {session} of {token['sub']} has ended")
    return IssuerUser(person, session)


def is_approver(user: SimpleAuthManagerUser) -> bool:
    """Return whether the user signed in at the issuer and has the role of approvers now."""
    oidc = issuer()
    if oidc is None or not isinstance(user, IssuerUser):
        return False
    person = _people()[0].who(user.username, user.session, oidc.issuer)
    return person is not None and person.role is Role.APPROVER


def pages(manager: SimpleAuthManager) -> Starlette:
    """Return the pages below FOLDER."""
    settings, oidc = load(), issuer()
    assert oidc is not None  # noqa: S101 asked for with an issuer only
    people, ledger = _people()
    address = settings.sign_in_url("airflow")
    desk = wiring.desk(settings, SystemActor.AIRFLOW, people, ledger, lambda name: False)
    seconds = int(oidc.hours * 3600)
    # Of all API servers: a sign-in may come back to another than it began at.
    secret = conf.get_mandatory_value("api", "secret_key").encode()
    key = hmac.new(secret, b"perennial sign-in", hashlib.sha256).hexdigest()

    def enter(claims: Mapping[str, Any], answer: Response) -> None:
        token = manager.generate_jwt(IssuerUser(*desk.enter(claims)), expiration_time_in_seconds=seconds)
        answer.set_cookie(
            COOKIE_NAME_JWT_TOKEN, token, max_age=seconds, path=get_cookie_path(), httponly=True, samesite="lax",
            secure=address.startswith("https:"),
        )  # fmt: skip

    def leave(request: Request, answer: Response) -> None:
        token = request.cookies.get(COOKIE_NAME_JWT_TOKEN)
        answer.delete_cookie(COOKIE_NAME_JWT_TOKEN, path=get_cookie_path(), httponly=True)
        if not token:
            return
        try:
            user = user_of(manager._get_token_validator().validated_claims(token))
        except (InvalidTokenError, ValueError):  # no valid session to end
            return
        if user is not None:
            sign_out(user.username, people, ledger, datetime.now(UTC))

    return wiring.pages(settings, SystemActor.AIRFLOW, address + FOLDER, key, enter, leave, {})
