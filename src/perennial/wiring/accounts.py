"""Sign this process in to MLflow."""

from __future__ import annotations

import os

from perennial.core.governance.identity import Role
from perennial.settings import Settings

CERTIFICATES = "MLFLOW_TRACKING_SERVER_CERT_PATH"
"""Variable with the file of certificates that MLflow's client trusts."""


def sign_in(settings: Settings, role: Role) -> None:
    """Sign this process in as the account of a role, through the environment of MLflow's client.

    The certificates that it trusts are named there, too.

    An account that the environment already has stays: a training on another machine gets its account there. A
    registry in a file has no accounts.

    Raises:
        SettingsError: there are no accounts yet, or this process is signed in as another account.
    """
    from perennial import account_file
    from perennial.errors import SettingsError

    if not settings.tracking.startswith("http"):
        return
    if (trusted := settings.trusted_certificates) is not None:
        os.environ.setdefault(CERTIFICATES, str(trusted))
    if os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return
    name = next(account.name for account in settings.accounts if account.role is role)
    signed_in, ours = os.environ.get("MLFLOW_TRACKING_USERNAME"), _OURS.get(os.getpid())
    if signed_in is None or (signed_in == ours == name):
        # Read again each time: the password may have changed, or the installation may be another.
        os.environ["MLFLOW_TRACKING_PASSWORD"] = account_file.read(settings.accounts_file)[name].password
        os.environ["MLFLOW_TRACKING_USERNAME"] = _OURS[os.getpid()] = name
    elif signed_in == ours:
        raise SettingsError(
            f"this process is the account {signed_in} for MLflow: it cannot become {name}",
            hint="one process, one role: start another",
        )


_OURS: dict[int, str] = {}
"""Process id -> account that `sign_in` signed in."""
