"""The accounts file in MLflow's own user store: who leaves the file is gone, who never was in it stays."""

from __future__ import annotations

import pytest

from perennial.account_file import Credentials
from perennial.core.governance.identity import Account, Role
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


def test_every_method_of_the_store_that_changes_something_is_recorded(store):
    from doubles.releases import MemoryLedger

    from perennial.tracking_server.account_changes import changing_methods, record_changes

    changing = changing_methods(type(store))
    assert {"create_user", "update_user", "delete_user", "assign_role_to_user", "add_role_permission"} <= set(
        changing
    )
    assert not [name for name in changing if name.startswith(("get", "list", "find", "search"))]
    ledger = MemoryLedger()
    record_changes(store, ledger, lambda: "ann")
    store.create_user("newcomer", PASSWORD)
    role = store.create_role("readers", "default", "they read")
    store.assign_role_to_user(store.get_user("newcomer").id, role.id)
    store.grant_user_resource_permission("newcomer", "experiment", "7", "EDIT")
    store.update_user("newcomer", password="a password that is new")
    rows = [row.entry for row in ledger.rows()]
    assert [row.payload["change"] for row in rows] == [
        "create_user", "create_role", "assign_role_to_user", "grant_user_resource_permission", "update_user",
    ]  # fmt: skip
    assert {row.payload.get("username") for row in rows} == {"newcomer", None}
    assert rows[-1].payload["password"] == "set"
    assert PASSWORD not in repr(rows)
    assert "password that is new" not in repr(rows)
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException):
        store.create_user("newcomer", PASSWORD)
    assert len(ledger.rows()) == 5, "what was refused is no change"


def test_people_of_an_issuer_have_one_role_and_leave_with_it(store):
    from perennial.tracking_server.accounts import admit, ensure, is_foreign, remove_guests, roles_of

    ensure(store, accounts())
    store.create_user("by-hand", PASSWORD)
    assert admit(store, Account(name="ann", role=Role.APPROVER)) == [
        ("ann", "created"), ("ann", "role approver given"),
    ]  # fmt: skip
    assert admit(store, Account(name="ann", role=Role.APPROVER)) == []
    admit(store, Account(name="ann", role=Role.VIEWER))
    assert roles_of(store, "ann") == {Role.VIEWER}
    assert not store.get_user("ann").is_admin
    assert [is_foreign(store, name) for name in ("ann", "nobody", "by-hand", "admin")] == [
        False,
        False,
        True,
        True,
    ]
    ensure(store, accounts())  # what leaves the file is another matter
    assert store.has_user("ann")
    assert remove_guests(store) == [("ann", "deleted")]
    assert store.has_user("by-hand")
