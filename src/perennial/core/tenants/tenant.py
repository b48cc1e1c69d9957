"""A tenant's name, and the names that it has on the servers that tenants share."""

from __future__ import annotations

import re
from dataclasses import dataclass

from perennial.errors import UsageError
from perennial.state_folder import PATTERN

NAME = re.compile(PATTERN)
PARTS = ("perennial", "mlflow", "airflow", "optuna")
"""Parts of a plant with a database each (docs/guide/production.md); the role of its name owns it."""
USERS = ("plant", "recorder")
"""Roles that use the database of `perennial` and own nothing: `perennial store admit` gives them their rights."""
RESERVED = frozenset(
    {*PARTS, *USERS, "tuning", "postgres", "template0", "template1", "public", "root", "admin", "none", "default", "pg"}
    | {"queue", "features", "exchange", "staging", "edge", "cell", "true"}
)  # fmt: skip
"""Roles, databases, accounts, labels and namespaces (perennial-NAME) that a server or a plant without a tenant has."""


@dataclass(frozen=True)
class Tenant:
    """A tenant by its name.

    Raises:
        UsageError: it cannot be a tenant's name.
    """

    name: str

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name) or self.name in RESERVED:
            why = "is reserved" if self.name in RESERVED else "is not 2 to 20 of a-z and 0-9, a letter first"
            raise UsageError(f"{self.name!r} cannot be a tenant's name: it {why}", hint="as acme or team7")

    def role(self, part: str) -> str:
        """Return a role: that of a user, or that of a part, which owns the database of the same name."""
        return self.name if part == "perennial" else f"{self.name}_{part}"

    @property
    def roles(self) -> tuple[str, ...]:
        return tuple(self.role(part) for part in (*PARTS, *USERS))

    @property
    def databases(self) -> tuple[str, ...]:
        return tuple(self.role(part) for part in PARTS)

    @property
    def bucket(self) -> str:
        return f"perennial-{self.name}"

    @property
    def namespace(self) -> str:
        """Return the namespace of Kubernetes."""
        return f"perennial-{self.name}"
