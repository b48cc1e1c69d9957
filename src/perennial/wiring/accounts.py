"""Sign this process in to MLflow, and have S3 encrypt what it uploads."""

from __future__ import annotations

import json
import os

from perennial.core.certificates.roles import ProcessRole, identity
from perennial.core.governance.identity import Role
from perennial.encryption.server_side import upload_arguments
from perennial.settings import Settings
from perennial.wiring.certificates import asks_inside

UPLOADS = "MLFLOW_S3_UPLOAD_EXTRA_ARGS"
CERTIFICATES = "MLFLOW_TRACKING_SERVER_CERT_PATH"
"""Variable with the file of certificates that MLflow's client trusts."""
OWN_CERTIFICATE = "MLFLOW_TRACKING_CLIENT_CERT_PATH"
"""Variable with the file of the certificate and the key that MLflow's client shows."""


def mlflow_certificates(settings: Settings, role: str) -> dict[str, str]:
    """Return the variables of MLflow's client about TLS.

    Args:
        role: whose certificate the process has.
    """
    if settings.internal_tls is not None and asks_inside(settings, ProcessRole.MLFLOW):
        files = settings.identity_of(role)
        return {CERTIFICATES: str(files.trusted), OWN_CERTIFICATE: str(files.combined)}
    trusted = settings.trusted_certificates
    return {} if trusted is None else {CERTIFICATES: str(trusted)}


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

    os.environ.update(mlflow_uploads(settings))
    if not settings.tracking.startswith("http"):
        return
    if settings.internal_tls is not None and asks_inside(settings, ProcessRole.MLFLOW):
        from perennial.adapters.mlflow import server_role

        server_role.require(settings.pages_mlflow, frozenset({identity(ProcessRole.MLFLOW)}))
    for name, path in mlflow_certificates(settings, settings.internal_role).items():
        os.environ.setdefault(name, path)
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


def mlflow_uploads(settings: Settings) -> dict[str, str]:
    """Return the variable by which MLflow has S3 encrypt its artifacts; one that is set already stays."""
    arguments = upload_arguments(settings.s3_encryption)
    if not arguments or UPLOADS in os.environ:
        return {}
    return {UPLOADS: json.dumps(arguments)}


_OURS: dict[int, str] = {}
"""Process id -> account that `sign_in` signed in."""
