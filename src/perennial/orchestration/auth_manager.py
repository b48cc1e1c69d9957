"""Airflow's simple auth manager, with growing delays after wrong passwords and entries in the ledger."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

if TYPE_CHECKING:
    from fastapi import FastAPI


class GuardedAuthManager(SimpleAuthManager):
    """Auth manager whose sign-in routes are guarded. Only the API server makes these routes."""

    def get_fastapi_app(self) -> FastAPI | None:
        app = super().get_fastapi_app()
        _guard_sign_ins(self)
        return app


def _guard_sign_ins(manager: SimpleAuthManager) -> None:
    """Replace the function by which all sign-in routes check a password."""
    from airflow.api_fastapi.auth.managers.simple.services.login import SimpleAuthManagerLogin
    from fastapi import HTTPException

    from perennial.core.events import SystemActor
    from perennial.flows.governance.sign_ins import SignInGuard
    from perennial.settings import load
    from perennial.wiring import database

    check = SimpleAuthManagerLogin.create_token
    guard = SignInGuard(
        SystemActor.AIRFLOW,
        {user.username for user in manager.get_users()}.__contains__,
        database.store(load()).ledger,
        secrets.token_bytes(32),
        time.monotonic,
        lambda: datetime.now(UTC),
    )

    def create_token(body: Any, **more: Any) -> str:
        made: list[str] = []

        def is_right() -> bool:
            try:
                made.append(check(body=body, **more))
            except HTTPException as error:
                if error.status_code != 401:
                    raise
            return bool(made)

        # No address: Airflow does not hand it to this function.
        wait = guard.check(body.username, body.password, None, is_right)
        if wait is None:
            raise HTTPException(401, "Invalid credentials")
        if wait:
            raise HTTPException(
                429, f"too many failed sign-ins: try again in {wait} s", {"Retry-After": str(wait)}
            )
        return made[0]

    SimpleAuthManagerLogin.create_token = staticmethod(create_token)
