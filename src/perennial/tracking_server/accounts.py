"""Synchronise the accounts file with MLflow's user store: users, roles, and permissions of roles."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException
from mlflow.utils.workspace_utils import DEFAULT_WORKSPACE_NAME as WORKSPACE

from perennial.core.governance.identity import Account, Role

if TYPE_CHECKING:
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

    from perennial.account_file import Credentials

# MLflow's permissions; everybody may read. `core.governance.registry_rules` adds rules.
GRANTS: dict[Role, tuple[tuple[str, str], ...]] = {
    Role.ADMIN: (),
    Role.APPROVER: (("registered_model", "EDIT"),),
    Role.OPERATOR: (("registered_model", "EDIT"),),
    Role.VIEWER: (),
    Role.TRAINING: (("registered_model", "EDIT"), ("experiment", "EDIT")),
    Role.RELEASE: (("registered_model", "MANAGE"),),  # needed to delete an alias
}
OURS = "accounts-file"
"""A role without permissions. It marks accounts of the file, so that accounts removed from the file are known."""
GUESTS = "openid-connect"
"""A role without permissions. It marks accounts of people who signed in at the issuer; nobody knows their passwords."""


def ensure(store: SqlAlchemyStore, accounts: Mapping[str, Credentials]) -> list[tuple[str, str]]:
    """Create missing accounts, update passwords and roles, and delete accounts that were removed from the file.

    Accounts that were never in the file stay unchanged: an admin may add people and give them these roles in MLflow.

    Returns:
        Account and change in words, for each change.
    """
    roles = {role: _role(store, role) for role in Role}
    ours = _named(store, OURS, "accounts of Perennial's file; an account removed from the file is deleted")
    changes = [(name, "deleted") for name in _delete_removed(store, ours, accounts)]
    for name, account in accounts.items():
        if not store.has_user(name):
            store.create_user(name, account.password, is_admin=account.role is Role.ADMIN)
            changes.append((name, "created"))
        elif not store.authenticate_user(name, account.password):
            store.update_user(name, password=account.password)
            changes.append((name, "password set"))
        changes += _set_role(store, name, account.role, roles, ours)
    return changes


def admit(store: SqlAlchemyStore, account: Account) -> list[tuple[str, str]]:
    """Create or change the account of a person who signed in at the issuer; return as `ensure` does."""
    changes = []
    guests = _guests(store)
    if not store.has_user(account.name):
        store.create_user(account.name, secrets.token_urlsafe(48))
        changes.append((account.name, "created"))
    roles = {role: _role(store, role) for role in Role}
    return changes + _set_role(store, account.name, account.role, roles, guests)


def is_foreign(store: SqlAlchemyStore, name: str) -> bool:
    """Return whether there is an account of this name that `admit` did not create."""
    if not store.has_user(name):
        return False
    held = store.list_user_roles(store.get_user(name).id)
    return _guests(store) not in {assigned.id for assigned in held}


def remove_guests(store: SqlAlchemyStore) -> list[tuple[str, str]]:
    """Delete all accounts that `admit` created; return as `ensure` does."""
    return [(name, "deleted") for name in _delete_removed(store, _guests(store), {})]


def _guests(store: SqlAlchemyStore) -> int:
    return _named(store, GUESTS, "people who signed in at the issuer; without one, they are deleted")


def _set_role(
    store: SqlAlchemyStore, name: str, wanted: Role, roles: Mapping[Role, int], mark: int
) -> list[tuple[str, str]]:
    """Give an account exactly one of our roles, and a mark; return account and change, for each change."""
    changes = []
    user = store.get_user(name)
    held = {assigned.id for assigned in store.list_user_roles(user.id)}
    if mark not in held:
        store.assign_role_to_user(user.id, mark)
    for role, number in roles.items():
        if role is wanted and number not in held:
            store.assign_role_to_user(user.id, number)
            changes.append((name, f"role {role} given"))
        if role is not wanted and number in held:
            store.unassign_role_from_user(user.id, number)
            changes.append((name, f"role {role} taken"))
    return changes


def roles_of(store: SqlAlchemyStore, name: str) -> frozenset[Role]:
    """Return the roles of a user in MLflow's own records, so that a change there has effect at once."""
    held = store.list_user_roles(store.get_user(name).id)
    known = set(Role)
    return frozenset(Role(role.name) for role in held if role.name in known and role.workspace == WORKSPACE)


def _delete_removed(store: SqlAlchemyStore, mark: int, accounts: Mapping[str, Credentials]) -> list[str]:
    """Delete the accounts with a mark that are not given, and with them their roles; return their names."""
    deleted = []
    members = {assignment.user_id for assignment in store.list_role_users(mark)}
    for user in store.list_users():
        if user.id in members and user.username not in accounts:
            store.delete_user(user.username)
            deleted.append(user.username)
    return deleted


def _role(store: SqlAlchemyStore, role: Role) -> int:
    number = _named(store, role.value, "made by Perennial")
    permissions = store.list_role_permissions(number)
    held = {(permission.resource_type, permission.permission) for permission in permissions}
    for kind, permission in GRANTS[role]:
        if (kind, permission) not in held:
            store.add_role_permission(number, kind, "*", permission)
    return number


def _named(store: SqlAlchemyStore, name: str, description: str) -> int:
    """Return the id of the role; create the role if it is missing."""
    try:
        return store.get_role_by_name(WORKSPACE, name).id
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return store.create_role(name, WORKSPACE, description).id
