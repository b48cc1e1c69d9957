"""The accounts file brought into MLflow's own user store: users, roles, and what each role may touch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException
from mlflow.utils.workspace_utils import DEFAULT_WORKSPACE_NAME as WORKSPACE

from perennial.core.governance.identity import Role

if TYPE_CHECKING:
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

    from perennial.account_file import Credentials

# MLflow's permissions; everybody reads. Beyond them stand the rules of `core.governance.registry_rules`.
GRANTS: dict[Role, tuple[tuple[str, str], ...]] = {
    Role.ADMIN: (),
    Role.APPROVER: (("registered_model", "EDIT"),),
    Role.OPERATOR: (("registered_model", "EDIT"),),
    Role.VIEWER: (),
    Role.TRAINING: (("registered_model", "EDIT"), ("experiment", "EDIT")),
    Role.RELEASE: (("registered_model", "MANAGE"),),  # an alias is deleted by nobody less
}
OURS = "accounts-file"
"""A role that allows nothing: it marks whom the file named, so that who leaves the file is known."""


def ensure(store: SqlAlchemyStore, accounts: Mapping[str, Credentials]) -> None:
    """Make what is missing, take over changed passwords and roles, delete who was in the file and is no more.

    Accounts that never were in it stay as they are: an admin may add people, and give them these roles, through
    MLflow.
    """
    roles = {role: _role(store, role) for role in Role}
    ours = _named(store, OURS, "accounts of Perennial's file: who leaves the file is deleted")
    _delete_left(store, ours, accounts)
    for name, one in accounts.items():
        if not store.has_user(name):
            store.create_user(name, one.password, is_admin=one.role is Role.ADMIN)
        elif not store.authenticate_user(name, one.password):
            store.update_user(name, password=one.password)
        user = store.get_user(name)
        held = {found.id for found in store.list_user_roles(user.id)}
        if ours not in held:
            store.assign_role_to_user(user.id, ours)
        for role, number in roles.items():
            if role is one.role and number not in held:
                store.assign_role_to_user(user.id, number)
            if role is not one.role and number in held:
                store.unassign_role_from_user(user.id, number)


def roles_of(store: SqlAlchemyStore, name: str) -> frozenset[Role]:
    """By MLflow's own records, so that a role given or taken there counts at once."""
    held = store.list_user_roles(store.get_user(name).id)
    known = set(Role)
    return frozenset(Role(one.name) for one in held if one.name in known and one.workspace == WORKSPACE)


def _delete_left(store: SqlAlchemyStore, ours: int, accounts: Mapping[str, Credentials]) -> None:
    """Without an account nobody signs in, and no role counts."""
    members = {one.user_id for one in store.list_role_users(ours)}
    for user in store.list_users():
        if user.id in members and user.username not in accounts:
            store.delete_user(user.username)


def _role(store: SqlAlchemyStore, role: Role) -> int:
    number = _named(store, role.value, "made by Perennial")
    held = {(one.resource_type, one.permission) for one in store.list_role_permissions(number)}
    for kind, permission in GRANTS[role]:
        if (kind, permission) not in held:
            store.add_role_permission(number, kind, "*", permission)
    return number


def _named(store: SqlAlchemyStore, name: str, description: str) -> int:
    """The id of the role, made if there is none."""
    try:
        return store.get_role_by_name(WORKSPACE, name).id
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return store.create_role(name, WORKSPACE, description).id
