"""Airflow's simple auth manager: delays after wrong passwords, people of an issuer, changes of DAGs and runs in the
ledger, and parts of Airflow that only its admins write."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from starlette.routing import Mount

from perennial.core.events import Entry, Event
from perennial.core.governance.oidc import EVERY_APPROVER
from perennial.orchestration.issuer_sessions import (
    FOLDER,
    SESSION,
    IssuerUser,
    is_approver,
    issuer,
    pages,
    user_of,
)
from perennial.orchestration.trigger_provenance import EVERY_DAG, NOTE_EVERY, changed_entry

if TYPE_CHECKING:
    from airflow.api_fastapi.auth.managers.base_auth_manager import ResourceMethod
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from fastapi import FastAPI


class GuardedAuthManager(SimpleAuthManager):
    """Auth manager whose sign-in routes are guarded. Only the API server makes these routes."""

    _noted: ClassVar[dict[tuple[str, str, str], float]] = {}

    # People who sign in at an issuer; without one, all is as Airflow has it.

    def get_url_login(self, **kwargs: Any) -> str:
        return super().get_url_login(**kwargs) if issuer() is None else f"{FOLDER}/login"

    def get_url_logout(self) -> str | None:
        return super().get_url_logout() if issuer() is None else f"{FOLDER}/logout"

    def serialize_user(self, user: SimpleAuthManagerUser) -> dict[str, Any]:
        session = {SESSION: user.session} if isinstance(user, IssuerUser) else {}
        return {**super().serialize_user(user), **session}

    def deserialize_user(self, token: dict[str, Any]) -> SimpleAuthManagerUser:
        person = user_of(token)
        if person is not None:
            return person
        user = super().deserialize_user(token)
        if issuer() is not None and user.username not in {known.username for known in self.get_users()}:
            raise ValueError(f"{user.username} has no password here any more")
        return user

    def is_authorized_hitl_task(self, *, assigned_users: set[str], user: SimpleAuthManagerUser) -> bool:
        """Let everybody answer who is an approver now, where the question is for all of them."""
        if EVERY_APPROVER in assigned_users:
            return is_approver(user)
        return super().is_authorized_hitl_task(assigned_users=assigned_users, user=user)

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
        if method == "DELETE" and access_entity is None:  # with the DAG go all its runs
            allowed = allowed and self._is_admin(user)
        if allowed and method != "GET" and access_entity is not DagAccessEntity.HITL_DETAIL:
            dag = (details.id if details is not None else None) or EVERY_DAG
            self._note(changed_entry(user.username, dag, datetime.now(UTC)), dag)
        return allowed

    # Perennial needs no account of a person to write any of these: its own one raises asset events.

    def is_authorized_asset(
        self, *, method: ResourceMethod, user: SimpleAuthManagerUser, **more: Any
    ) -> bool:
        return self._is_reserved("asset", method, user, super().is_authorized_asset, more)

    def is_authorized_pool(self, *, method: ResourceMethod, user: SimpleAuthManagerUser, **more: Any) -> bool:
        return self._is_reserved("pool", method, user, super().is_authorized_pool, more)

    def is_authorized_variable(
        self, *, method: ResourceMethod, user: SimpleAuthManagerUser, **more: Any
    ) -> bool:
        return self._is_reserved("variable", method, user, super().is_authorized_variable, more)

    def is_authorized_connection(
        self, *, method: ResourceMethod, user: SimpleAuthManagerUser, **more: Any
    ) -> bool:
        return self._is_reserved("connection", method, user, super().is_authorized_connection, more)

    def _is_reserved(
        self,
        thing: str,
        method: ResourceMethod,
        user: SimpleAuthManagerUser,
        check: Callable[..., bool],
        more: Mapping[str, Any],
    ) -> bool:
        """Return whether the account may do this; only admins write, and the ledger has it before it is done."""
        if not check(method=method, user=user, **more):
            return False
        if method == "GET":
            return True
        if not self._is_admin(user):
            return False
        now = datetime.now(UTC)
        payload = {"thing": thing, "method": method}
        entry = Entry(at=now, actor=user.username, kind=Event.AIRFLOW_CHANGED, model="", payload=payload)
        self._note(entry, thing)
        return True

    def _note(self, entry: Entry, what: str) -> None:
        """Record at most once in NOTE_EVERY; without a database the call fails, and nothing is changed."""
        from perennial.settings import load
        from perennial.wiring import database

        key = (entry.actor, entry.kind, what)
        seconds, last = time.monotonic(), self._noted.get(key)
        if last is not None and seconds - last < NOTE_EVERY.total_seconds():
            return
        database.store(load()).ledger.append(entry)
        for old in [key for key, at in self._noted.items() if seconds - at > NOTE_EVERY.total_seconds()]:
            self._noted.pop(old, None)
        self._noted[key] = seconds

    def get_fastapi_app(self) -> FastAPI | None:
        app = super().get_fastapi_app()
        _guard_sign_ins(self)
        refuse_later_runs()
        if app is not None and issuer() is not None:
            # Before the route of the page of passwords, which takes every path.
            app.router.routes.insert(0, Mount("/oidc", pages(self)))
        return app


def refuse_later_runs() -> None:
    """Have Airflow refuse runs that are due in the future.

    Whoever changes a run counts as its requester from the time on at which it is due: one that is due later could
    be changed before. Nothing else tells a task when its run was made.
    """
    from airflow.api_fastapi.core_api.datamodels.dag_run import TriggerDAGRunPostBody
    from fastapi import HTTPException

    check = TriggerDAGRunPostBody.validate_context

    def validate_context(self: Any, dag: Any) -> dict[str, Any]:
        due = self.run_after
        if due is not None and (due if due.tzinfo else due.replace(tzinfo=UTC)) > datetime.now(UTC):
            raise HTTPException(400, "run_after lies in the future: a run is started when it is due")
        return check(self, dag)

    TriggerDAGRunPostBody.validate_context = validate_context


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
