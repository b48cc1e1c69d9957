"""The accounts file in MLflow's own user store: who leaves the file is gone, who never was in it stays."""

from __future__ import annotations

import pytest

from perennial.account_file import Credentials
from perennial.core.governance.identity import Role
from perennial.tracking_server.app import CONFIGURATION

pytestmark = pytest.mark.slow

PASSWORD = "a password that is long"


@pytest.fixture
def store(tmp_path, monkeypatch):
    database, path = f"sqlite:///{tmp_path / 'auth.db'}", tmp_path / "auth.ini"
    path.write_text(CONFIGURATION.format(database=database))
    # MLflow's authentication reads it on its first import, whoever does that.
    monkeypatch.setenv("MLFLOW_AUTH_CONFIG_PATH", str(path))
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

    made = SqlAlchemyStore()
    made.init_db(database)
    return made


def accounts(**roles: str) -> dict[str, Credentials]:
    people = {"admin": "admin", **roles}
    return {name: Credentials(role=Role(role), password=PASSWORD) for name, role in people.items()}


def test_who_leaves_the_file_signs_in_no_longer_and_approves_nothing(store):
    from perennial.tracking_server.accounts import ensure, roles_of

    ensure(store, accounts(approver="approver", ann="approver"))
    assert store.authenticate_user("approver", PASSWORD)
    ensure(store, accounts(ann="approver"))
    assert not store.has_user("approver")
    assert not store.authenticate_user("approver", PASSWORD)
    assert roles_of(store, "ann") == {Role.APPROVER}
    ensure(store, accounts(ann="viewer", approver="operator"))
    assert roles_of(store, "ann") == {Role.VIEWER}
    assert roles_of(store, "approver") == {Role.OPERATOR}, "named again, without what it could before"


def test_accounts_that_an_admin_made_stay(store):
    from mlflow.utils.workspace_utils import DEFAULT_WORKSPACE_NAME

    from perennial.tracking_server.accounts import ensure, roles_of

    ensure(store, accounts(ann="approver"))
    store.create_user("by-hand", PASSWORD)
    store.create_user("newcomer", PASSWORD)
    approver = store.get_role_by_name(DEFAULT_WORKSPACE_NAME, "approver")
    store.assign_role_to_user(store.get_user("newcomer").id, approver.id)
    ensure(store, accounts(ben="viewer"))
    assert not store.has_user("ann")
    assert store.authenticate_user("by-hand", PASSWORD)
    assert store.authenticate_user("newcomer", PASSWORD)
    assert roles_of(store, "newcomer") == {Role.APPROVER}
