"""The accounts file brought into MLflow's own user store: users, roles, and what each role may touch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException
from mlflow.utils.workspace_utils import DEFAULT_WORKSPACE_NAME as WORKSPACE

from perennial.core.identity import Role

if TYPE_CHECKING:
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

    from perennial.account_file import Credentials

# MLflow's permissions; everybody reads. Beyond them stand the rules of `core.registry_rules`.
GRANTS: dict[Role, tuple[tuple[str, str], ...]] = {
    Role.ADMIN: (),
    Role.APPROVER: (("registered_model", "EDIT"),),
    Role.OPERATOR: (("registered_model", "EDIT"), ("experiment", "EDIT")),
    Role.VIEWER: (),
    Role.TRAINING: (("registered_model", "EDIT"), ("experiment", "EDIT")),
    Role.RELEASE: (("registered_model", "MANAGE"),),  # an alias is deleted by nobody less
}


def ensure(store: SqlAlchemyStore, accounts: Mapping[str, Credentials]) -> None:
    """Make what is missing, take over changed passwords and roles. Accounts that the file does not name stay
    as they are: an admin may add people, and give them these roles, through MLflow."""
    roles = {role: _role(store, role) for role in Role}
    for name, one in accounts.items():
        if not store.has_user(name):
            store.create_user(name, one.password, is_admin=one.role is Role.ADMIN)
        elif not store.authenticate_user(name, one.password):
            store.update_user(name, password=one.password)
        user = store.get_user(name)
        held = {found.id for found in store.list_user_roles(user.id)}
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


def _role(store: SqlAlchemyStore, role: Role) -> int:
    try:
        found = store.get_role_by_name(WORKSPACE, role.value)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        found = store.create_role(role.value, WORKSPACE, "made by Perennial")
    held = {(one.resource_type, one.permission) for one in store.list_role_permissions(found.id)}
    for kind, permission in GRANTS[role]:
        if (kind, permission) not in held:
            store.add_role_permission(found.id, kind, "*", permission)
    return found.id
