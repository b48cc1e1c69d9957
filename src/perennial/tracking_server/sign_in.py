"""Sign-in at MLflow (`authorization_function`): its own check of passwords, with growing delays after wrong ones, and
the sessions of people where they sign in at an issuer."""

from __future__ import annotations

import logging
import secrets
import time
from datetime import UTC, datetime
from functools import cache

from flask import Response, redirect, request
from mlflow.server import auth
from werkzeug.datastructures import Authorization

from perennial import account_file
from perennial.core.events import SystemActor
from perennial.errors import StoreUnavailable
from perennial.flows.governance.sign_ins import SignInGuard
from perennial.settings import load
from perennial.tracking_server.sessions import FOLDER, Sessions, is_navigation, login_path
from perennial.wiring import database, people

LOG = logging.getLogger(__name__)
KEY = "server.key"
"""File in MLflow's folder with the server's own secret."""


@cache
def _guard() -> SignInGuard:
    settings = load()
    accounts = account_file.read(settings.accounts_file)
    return SignInGuard(
        SystemActor.MLFLOW,
        auth.store.has_user,
        database.store(settings).ledger,
        secrets.token_bytes(32),
        time.monotonic,
        lambda: datetime.now(UTC),
        {name: account.password for name, account in accounts.items()},
    )


@cache
def sessions() -> Sessions | None:
    """Return the sessions of people; None where they have passwords."""
    settings = load()
    if settings.oidc is None:
        return None
    view, _ = people.people(settings)
    key = account_file.server_key(settings.mlflow_dir / KEY)
    return Sessions(settings.oidc, view, key, settings.sign_in_url("mlflow"))


@cache
def _with_password() -> frozenset[str]:
    """Return the accounts of the file."""
    return frozenset(account_file.read(load().accounts_file))


def authenticate() -> Authorization | Response:
    """Return the authorization of the current request when MLflow accepts it, else a 401 or a 429.

    With an issuer, only the accounts of the file have passwords, and a browser without a session is led to it.
    """
    given, open_sessions = request.authorization, sessions()
    if open_sessions is not None and given is not None and given.type == "bearer":
        return _by_token(open_sessions, given.token or "")
    if given is None or given.username is None or given.password is None:
        return auth.make_basic_auth_response() if open_sessions is None else _by_cookie(open_sessions)

    def is_right() -> bool:
        if open_sessions is not None and given.username not in _with_password():
            return False
        return not isinstance(auth.authenticate_request_basic_auth(), Response)

    wait = _guard().check(given.username, given.password, request.remote_addr, is_right)
    if wait == 0:
        return given
    if wait is None:
        return auth.make_basic_auth_response()
    text = f"too many failed sign-ins: try again in {wait} s"
    return Response(text, 429, {"Retry-After": str(wait)}, mimetype="text/plain")


def _by_token(open_sessions: Sessions, text: str) -> Authorization | Response:
    try:
        person = open_sessions.of_token(text, database.tokens(load()), datetime.now(UTC))
    except StoreUnavailable:
        LOG.exception("the token of a person cannot be checked")
        return Response("tokens cannot be checked now", 503, mimetype="text/plain")
    if person is not None:
        return Authorization("bearer", {"username": person.account})
    text = f"no valid token: make one at {FOLDER}/token"
    return Response(text, 401, {"WWW-Authenticate": 'Bearer error="invalid_token"'}, mimetype="text/plain")


def _by_cookie(open_sessions: Sessions) -> Authorization | Response:
    person = open_sessions.of_request(request)
    if person is not None:
        return Authorization("cookie", {"username": person.account})
    if is_navigation(request):
        return redirect(login_path(request))
    # No challenge that a browser would ask a password for.
    text = f"sign in at {FOLDER}/login; programs by a token of {FOLDER}/token, machines by name and password"
    return Response(text, 401, {"WWW-Authenticate": "Cookie"}, mimetype="text/plain")
