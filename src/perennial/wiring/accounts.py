"""Which account a process is for MLflow, and who signs in on the command line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from perennial.core.governance.identity import Role
from perennial.settings import Settings

if TYPE_CHECKING:
    pass


def sign_in(settings: Settings, role: Role) -> None:
    """Make this process the account of a role, for MLflow's own client: it reads the environment.

    Who is signed in by the environment stays so: a training elsewhere is given its account there. A registry
    that is a file has no accounts.

    Raises:
        SettingsError: the accounts were not made, or this process is another account already.
    """
    from perennial import account_file
    from perennial.errors import SettingsError

    if not settings.tracking.startswith("http") or os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return
    name = next(one.name for one in settings.accounts if one.role is role)
    signed_in, ours = os.environ.get("MLFLOW_TRACKING_USERNAME"), _OURS.get(os.getpid())
    if signed_in is None or (signed_in == ours == name):
        # Read again each time: another installation, or a password that was changed meanwhile.
        os.environ["MLFLOW_TRACKING_PASSWORD"] = account_file.read(settings.accounts_file)[name].password
        os.environ["MLFLOW_TRACKING_USERNAME"] = _OURS[os.getpid()] = name
    elif signed_in == ours:
        raise SettingsError(
            f"this process is the account {signed_in} for MLflow: it cannot become {name}",
            hint="one process, one role: start another",
        )


_OURS: dict[int, str] = {}
"""Process id -> the account that it signed in as itself."""
