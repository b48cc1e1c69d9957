"""MLflow's app with authentication and Perennial's registry rules, for uvicorn.

MLflow's server is imported inside the factory: it reads the environment at import, and this module sets that
environment from the settings and the accounts file. `mlflow server` is not used: it puts the database's address, with
its password, on a command line or into the environment of a process that it starts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from copy import copy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from perennial import __version__
from perennial.core.events import SystemActor
from perennial.core.governance.identity import Role
from perennial.errors import SettingsError
from perennial.reporting import errors_to_sentry
from perennial.settings import Settings, load

if TYPE_CHECKING:
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore
    from starlette.applications import Starlette

    from perennial.account_file import Credentials
    from perennial.ports import Ledger
    from perennial.tracking_server.store import Caller

CONFIGURATION = """\
[mlflow]
default_permission = READ
database_uri = {database}
authorization_function = perennial.tracking_server.sign_in:authenticate
# Checking a password takes a tenth of a second by design, and each click of the page makes a dozen requests.
auth_cache_ttl_seconds = 60
"""


def create_app() -> Any:
    """Create the ASGI app and the accounts of the accounts file.

    Raises:
        SettingsError: there are no accounts yet, or MLflow runs in a mode that the rules do not cover.
    """
    settings = load()
    errors_to_sentry.start(settings.sentry_dsn, "mlflow", __version__)
    accounts = _configure(settings)

    from mlflow.environment_variables import MLFLOW_ENABLE_WORKSPACES
    from mlflow.server import auth

    if MLFLOW_ENABLE_WORKSPACES.get():
        raise SettingsError(
            "MLflow's workspaces are on: the rules for approvals do not cover them",
            hint="unset MLFLOW_ENABLE_WORKSPACES",
        )
    from mlflow.server import app as flask_app

    from perennial.tracking_server.account_changes import record_changes
    from perennial.tracking_server.accounts import ensure, remove_guests
    from perennial.tracking_server.route_guard import ClosedRoutes, guard_roles
    from perennial.wiring import database

    _require_accounts()
    app = auth.create_app()
    ledger = database.store(settings).ledger
    record = partial(_record, ledger)
    record(ensure(auth.store, accounts))
    if settings.oidc is None:
        record(remove_guests(auth.store))
    unrecorded = copy(auth.store)  # what we change ourselves is recorded as ours
    record_changes(auth.store, ledger, lambda: caller().name)
    _govern()
    guard_roles(flask_app, caller, settings.artifacts_url)
    return ClosedRoutes(app, _pages(settings, unrecorded, record))


def _record(ledger: Ledger, changes: Iterable[tuple[str, str]]) -> None:
    from perennial.tracking_server.account_changes import account_entry

    for name, change in changes:
        ledger.append(account_entry(SystemActor.ACCOUNTS, {"change": change, "username": name}))


def _pages(
    settings: Settings, store: SqlAlchemyStore, record: Callable[[list[tuple[str, str]]], None]
) -> Starlette | None:
    """Return the pages where people sign in at an issuer; None where they have passwords."""
    from perennial import account_file
    from perennial.tracking_server import accounts, sessions
    from perennial.tracking_server.sign_in import KEY
    from perennial.tracking_server.sign_in import sessions as of_requests
    from perennial.wiring import people

    cookies = of_requests()
    if cookies is None:
        return None
    view, ledger = people.people(settings)
    key = account_file.server_key(settings.mlflow_dir / KEY)
    return sessions.pages(
        settings, cookies, view, ledger, key,
        lambda name: accounts.is_foreign(store, name),
        lambda person: record(accounts.admit(store, person.holder)),
    )  # fmt: skip


def _configure(settings: Settings) -> dict[str, Credentials]:
    """Write what MLflow's server and its authentication read at import; return the accounts."""
    from perennial import account_file, files

    accounts = account_file.read(settings.accounts_file)
    admin = next(name for name, account in accounts.items() if account.role is Role.ADMIN)
    path = Path(settings.mlflow_dir / "auth.ini")
    # Of its own only as a file: MLflow keeps the versions of the two schemas in tables of different names.
    database = settings.mlflow_database_url or f"sqlite:///{settings.mlflow_dir / 'auth.db'}"
    files.write_text(path, CONFIGURATION.format(database=database.replace("%", "%%")), files.PRIVATE)
    # As `mlflow server` sets them for the process that it starts. What a process adds to its environment is not
    # shown in /proc.
    os.environ["_MLFLOW_SERVER_FILE_STORE"] = settings.mlflow_database
    os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"] = settings.artifacts
    os.environ["_MLFLOW_SGI_NAME"] = "uvicorn"
    os.environ["_MLFLOW_SERVER_BOOT_ID"] = uuid4().hex
    os.environ["_MLFLOW_IN_JOB_EXECUTOR"] = "false"
    os.environ["MLFLOW_AUTH_CONFIG_PATH"] = str(path)
    os.environ["MLFLOW_AUTH_ADMIN_USERNAME"] = admin
    os.environ["MLFLOW_AUTH_ADMIN_PASSWORD"] = accounts[admin].password
    os.environ["MLFLOW_FLASK_SERVER_SECRET_KEY"] = account_file.server_key(settings.mlflow_dir / "server.key")
    # Refuse a route for which MLflow has no authorisation rule.
    os.environ.setdefault("MLFLOW_BASIC_AUTH_FAIL_CLOSED", "true")
    return accounts


def _require_accounts() -> None:
    """Have MLflow ask for an account on every route that is not OPEN; on its own it answers `server-info` to all."""
    from mlflow.server import auth

    from perennial.core.governance.tracking_rules import Access, access_of

    unprotected, find = auth.is_unprotected_route, auth._find_fastapi_validator

    def is_open(path: str) -> bool:
        return unprotected(path) and access_of("GET", path) is Access.OPEN

    def validator(path: str, method: str) -> Any:
        if path.endswith("/mlflow/server-info"):
            return auth._get_require_authentication_validator()
        return find(path, method)

    auth.is_unprotected_route, auth._find_fastapi_validator = is_open, validator


def _govern() -> None:
    """Replace MLflow's registry store by GovernedStore, and check that MLflow uses it. Makes the tables.

    Raises:
        SettingsError: MLflow uses another store.
    """
    from mlflow.server import handlers
    from mlflow.store.db.db_types import DATABASE_ENGINES

    from perennial.tracking_server.store import GovernedStore

    def _governed(store_uri: str) -> GovernedStore:
        return GovernedStore(store_uri, caller)

    handlers._get_tracking_store()
    handlers._model_registry_store = None
    for scheme in DATABASE_ENGINES:
        handlers._model_registry_store_registry.register(scheme, _governed)
    store = handlers._get_model_registry_store()
    if not isinstance(store, GovernedStore):
        raise SettingsError(
            f"MLflow's registry is a {type(store).__name__}, not ours: approvals would not be guarded",
            hint="PERENNIAL_MLFLOW_DATABASE_URL=postgresql+psycopg://..., or none",
        )


def caller() -> Caller:
    """Return the caller of the current request; outside a request a caller without roles."""
    from flask import g, has_request_context
    from mlflow.server import auth

    from perennial.tracking_server.accounts import roles_of
    from perennial.tracking_server.store import Caller

    name = getattr(g, "mlflow_authenticated_user", None) if has_request_context() else None
    if name is None:
        return Caller("nobody", frozenset(), admin=False)
    return Caller(name, roles_of(auth.store, name), admin=auth.store.get_user(name).is_admin)
