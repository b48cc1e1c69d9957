"""Settings that are secrets, and their values from the sources that the environment names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pydantic import ValidationError

from perennial.errors import SettingsError
from perennial.secret_errors import SecretMissing
from perennial.secret_sources.mounted_files import FileSecrets
from perennial.secret_sources.reference import FILE, VAULT, SecretReference, parse
from perennial.vault_settings import VaultSettings

if TYPE_CHECKING:
    from perennial.secret_sources.reference import SecretSource

SECRETS = frozenset(
    {"passwords", "airflow_password", "admin_password", "token", "notify", "database_url", "tuning_url"}
    | {"dvc_remote", "online_store", "mlflow_database_url", "airflow_database_url", "celery_broker_url"}
    | {"encryption_keys", "recorder_database_url", "online_store_reader", "oidc_client_secret"}
    | {"alerts_secret", "sentry_dsn"}
)
"""Settings that are secrets or may contain one. Instead of the value the environment may name its place:
`PERENNIAL_<NAME>_FILE` a file, `PERENNIAL_<NAME>_FROM` a reference (`file:PATH`, `vault:MOUNT/data/PATH#FIELD`)."""
MAY_BE_EMPTY = frozenset({"oidc_client_secret"})
"""Secrets whose file is there whether or not there is one: the client of an issuer may be a public one."""
ENDINGS = ("_FILE", "_FROM")


def references(prefix: str) -> dict[str, SecretReference]:
    """Return the references of the secret settings whose value the environment does not give itself.

    Raises:
        SettingsError: one has no known form, or a setting has two.
    """
    named = {}
    for name in sorted(SECRETS):
        variable = f"{prefix}{name.upper()}"
        given = [variable + ending for ending in ENDINGS if variable + ending in os.environ]
        if variable in os.environ or not given:
            continue
        if len(given) > 1:
            raise SettingsError(f"both {' and '.join(given)} are set", hint="unset one of them")
        text = os.environ[given[0]]
        is_file = given[0].endswith("_FILE")
        named[name] = SecretReference(given[0], FILE, text) if is_file else parse(given[0], text)
    return named


def from_sources(prefix: str) -> dict[str, str]:
    """Return the secret settings whose places the environment names, where it does not give the value itself.

    Raises:
        SettingsError: a reference, or the address of the vault, is wrong.
        SecretMissing, SecretForbidden, SecretsUnavailable: a value cannot be read, or is empty.
    """
    sources: dict[str, SecretSource] = {FILE: FileSecrets()}
    values = {}
    for name, reference in references(prefix).items():
        if reference.scheme == VAULT and VAULT not in sources:
            from perennial.secret_sources.vault import VaultSecrets

            sources[VAULT] = VaultSecrets(vault_settings(prefix))
        values[name] = sources[reference.scheme].read(reference)
        if not values[name] and name not in MAY_BE_EMPTY:  # an address would fall back on SQLite
            raise SecretMissing(f"{reference}: it is empty", hint=f"the value, or unset {reference.variable}")
    return values


def vault_settings(prefix: str) -> VaultSettings:
    """Return the settings of the vault, which are needed before all settings can be read.

    Raises:
        SettingsError: a variable has an invalid value.
    """
    variables = {name: prefix + name.upper() for name in VaultSettings.model_fields}
    given = {name: os.environ[variable] for name, variable in variables.items() if variable in os.environ}
    try:
        return VaultSettings.model_validate(given)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        raise SettingsError(
            f"{variables[name]}: {error.errors()[0]['msg']}", hint="correct or unset the variable"
        ) from None
