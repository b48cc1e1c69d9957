"""Settings that are secrets, and their values from files."""

from __future__ import annotations

import os
from pathlib import Path

from perennial.errors import SettingsError

SECRETS = frozenset(
    {"passwords", "airflow_password", "admin_password", "token", "notify", "database_url", "tuning_url"}
    | {
        "oidc_client_secret",
        "dvc_remote",
        "online_store",
        "mlflow_database_url",
        "airflow_database_url",
        "celery_broker_url",
    }
)
"""Settings that are secrets or may contain one; `PERENNIAL_<NAME>_FILE` names a file with the value
instead, as PERENNIAL_DATABASE_URL_FILE does."""


def from_files(prefix: str) -> dict[str, str]:
    """Return the secret settings whose files the environment names, where it does not give the value itself.

    Raises:
        SettingsError: a file cannot be read.
    """
    values = {}
    for name in SECRETS:
        variable = f"{prefix}{name.upper()}_FILE"
        path = os.environ.get(variable)
        if path is None or variable.removesuffix("_FILE") in os.environ:
            continue
        try:
            values[name] = Path(path).read_text().strip()
        except OSError as error:
            raise SettingsError(
                f"{variable}: {path}: {error.strerror}", hint="name a readable file with the value"
            ) from error
    return values
