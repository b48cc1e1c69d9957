"""Airflow's simple auth manager, with delays after wrong passwords, and changes of runs in the ledger."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

from perennial.orchestration.trigger_provenance import EVERY_DAG, NOTE_EVERY, changed_entry

if TYPE_CHECKING:
    from airflow.api_fastapi.auth.managers.base_auth_manager import ResourceMethod
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from fastapi import FastAPI


class GuardedAuthManager(SimpleAuthManager):
    """Auth manager whose sign-in routes are guarded. Only the API server makes these routes."""

    _noted: ClassVar[dict[tuple[str, str], float]] = {}

    def is_authorized_dag(
        self,
        *,
        method: ResourceMethod,
        user: SimpleAuthManagerUser,
        access_entity: DagAccessEntity | None = None,
        details: DagDetails | None = None,
    ) -> bool:
        """Record who may change runs and tasks of a DAG, before it is done: its runs count them as requesters."""
        allowed = super().is_authorized_dag(
            method=method, user=user, access_entity=access_entity, details=details
        )
        if allowed and method != "GET" and access_entity not in (None, DagAccessEntity.HITL_DETAIL):
            self._note(user.username, (details.id if details is not None else None) or EVERY_DAG)
        return allowed

    def _note(self, name: str, dag: str) -> None:
        """Record at most once in NOTE_EVERY; without a database the call fails, and nothing is changed."""
        from perennial.settings import load
        from perennial.wiring import database

        seconds, last = time.monotonic(), self._noted.get((name, dag))
        if last is not None and seconds - last < NOTE_EVERY.total_seconds():
            return
        database.store(load()).ledger.append(changed_entry(name, dag, datetime.now(UTC)))
        for old in [key for key, at in self._noted.items() if seconds - at > NOTE_EVERY.total_seconds()]:
            self._noted.pop(old, None)
        self._noted[name, dag] = seconds

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
        manager.get_passwords(),
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
