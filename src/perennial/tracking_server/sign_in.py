"""Sign-in at MLflow: its own check of passwords, with growing delays after wrong ones (`authorization_function`)."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

from flask import Response, request
from mlflow.server import auth

from perennial import account_file
from perennial.core.events import SystemActor
from perennial.flows.governance.sign_ins import SignInGuard
from perennial.settings import load
from perennial.wiring import database

if TYPE_CHECKING:
    from werkzeug.datastructures import Authorization


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


def authenticate() -> Authorization | Response:
    """Return the authorization of the current request when MLflow accepts it, else a 401 or a 429."""
    given = request.authorization
    if given is None or given.username is None or given.password is None:
        return auth.make_basic_auth_response()

    def is_right() -> bool:
        return not isinstance(auth.authenticate_request_basic_auth(), Response)

    wait = _guard().check(given.username, given.password, request.remote_addr, is_right)
    if wait == 0:
        return given
    if wait is None:
        return auth.make_basic_auth_response()
    text = f"too many failed sign-ins: try again in {wait} s"
    return Response(text, 429, {"Retry-After": str(wait)}, mimetype="text/plain")
