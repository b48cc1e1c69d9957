"""Accounts and what their roles allow: the same names in MLflow, in Airflow and on the command line."""

from __future__ import annotations

import re
from enum import StrEnum

from pydantic import Field

from perennial.core.frozen import Frozen

NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
"""Of an account: it becomes a part of tag names, where dots and slashes mean something."""


class Role(StrEnum):
    """One per account. The first four are of people, the last two of the system's own processes."""

    ADMIN = "admin"
    APPROVER = "approver"
    OPERATOR = "operator"
    VIEWER = "viewer"
    TRAINING = "training"
    RELEASE = "release"

    def is_person(self) -> bool:
        return self not in (Role.TRAINING, Role.RELEASE)


PEOPLE = (Role.APPROVER, Role.OPERATOR, Role.VIEWER)
"""What a person may be given by name; the admin makes accounts and approves nothing."""


class Account(Frozen):
    name: str = Field(pattern=f"^{NAME.pattern}$")
    role: Role


MACHINES = (
    Account(name="admin", role=Role.ADMIN),
    Account(name="training", role=Role.TRAINING),
    Account(name="release", role=Role.RELEASE),
)
"""There in every installation."""

STEERING: dict[str, frozenset[Role]] = {
    **dict.fromkeys(("approve", "reject", "promote", "abort", "rollback"), frozenset({Role.APPROVER})),
    **dict.fromkeys(("pause", "resume"), frozenset({Role.APPROVER, Role.OPERATOR})),
}
"""Who may say what to a release on the command line."""


def read_people(text: str) -> tuple[Account, ...]:
    """Read `name:role,name:role`.

    Raises:
        ValueError: a name that cannot be one, a role that people do not have, or a name twice.
    """
    found: list[Account] = []
    for part in filter(None, (one.strip() for one in text.split(","))):
        name, _, role = part.partition(":")
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no account name: small letters, digits, - and _")
        if role not in PEOPLE:
            raise ValueError(f"{part!r}: the role is one of {', '.join(PEOPLE)}")
        if name in {one.name for one in (*found, *MACHINES)}:
            raise ValueError(f"the account {name} is there already")
        found.append(Account(name=name, role=Role(role)))
    return tuple(found)


def may_steer(role: Role, action: str) -> bool:
    return role in STEERING[action]
