"""Accounts and what their roles allow: the same names in MLflow, in Airflow and on the command line."""

from __future__ import annotations

import re
from enum import StrEnum

from pydantic import AwareDatetime, Field

from perennial.core.frozen import Frozen

NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
"""Pattern of account names. They become parts of tag names, so dots and slashes are excluded."""


class Role(StrEnum):
    """Role of an account. TRAINING and RELEASE belong to the system's own processes, the others to people."""

    ADMIN = "admin"
    APPROVER = "approver"
    OPERATOR = "operator"
    VIEWER = "viewer"
    TRAINING = "training"
    RELEASE = "release"

    def is_person(self) -> bool:
        """Return whether people have this role."""
        return self not in (Role.TRAINING, Role.RELEASE)


PEOPLE = (Role.APPROVER, Role.OPERATOR, Role.VIEWER)
"""Roles that PERENNIAL_PEOPLE may give. The admin makes accounts and approves nothing."""

AIRFLOW_ROLES = {Role.ADMIN: "admin", Role.APPROVER: "op", Role.OPERATOR: "op", Role.VIEWER: "viewer"}
"""Airflow's role per role; the approval task itself accepts only answers of approvers."""


class Account(Frozen):
    """A name with its role."""

    name: str = Field(pattern=f"^{NAME.pattern}$")
    role: Role


class IssuerAccount(Account):
    """The account of a person at an issuer, whose tokens end with what they were made in."""

    named: AwareDatetime = Field(description="whoever had the name before then is another person")
    since: AwareDatetime = Field(
        description="what the person made in a session before then has ended with it"
    )


class SignedIn(Account):
    """The account that a token signs in, with the account that issued the token."""

    issued_by: str


MACHINES = (
    Account(name="admin", role=Role.ADMIN),
    Account(name="training", role=Role.TRAINING),
    Account(name="release", role=Role.RELEASE),
)
"""Accounts of every installation."""

STEERING: dict[str, frozenset[Role]] = {
    **dict.fromkeys(("approve", "reject", "promote", "abort", "rollback"), frozenset({Role.APPROVER})),
    **dict.fromkeys(("pause", "resume"), frozenset({Role.APPROVER, Role.OPERATOR})),
    **dict.fromkeys(("retire", "archive", "purge", "retract"), frozenset({Role.APPROVER, Role.OPERATOR})),
}
"""Command on a release, a version or a history -> roles that may give it."""


def read_people(text: str) -> tuple[Account, ...]:
    """Parse `name:role,name:role`.

    Raises:
        ValueError: a malformed name, a role that people do not have, or a repeated name.
    """
    accounts: list[Account] = []
    for part in filter(None, map(str.strip, text.split(","))):
        name, _, role = part.partition(":")
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no account name: small letters, digits, - and _")
        if role not in PEOPLE:
            raise ValueError(f"{part!r}: the role is one of {', '.join(PEOPLE)}")
        if name in {account.name for account in (*accounts, *MACHINES)}:
            raise ValueError(f"the account {name} is there already")
        accounts.append(Account(name=name, role=Role(role)))
    return tuple(accounts)


def may_steer(role: Role, action: str) -> bool:
    """Return whether the role may give this command."""
    return role in STEERING[action]
