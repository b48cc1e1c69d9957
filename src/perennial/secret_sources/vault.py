"""Secrets in HashiCorp Vault or OpenBao: the KV engine, version 2, over HTTP (`hvac`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from perennial.errors import PackageMissing, SettingsError
from perennial.secret_errors import SecretForbidden, SecretMissing, SecretsUnavailable
from perennial.secret_sources.reference import SecretReference, VaultPlace, vault_place
from perennial.vault_settings import VaultSettings

TIMEOUT_SECONDS = 10


class VaultSecrets:
    """Signs in at the first read, by the token of a file or the service account of a pod; reads each path once.

    A redirect is refused: its target would get the token.
    """

    def __init__(self, settings: VaultSettings) -> None:
        self._settings = settings
        self._client: Any = None
        self._read: dict[tuple[str, str], dict[str, Any]] = {}

    def read(self, reference: SecretReference) -> str:
        place = vault_place(reference)
        if (place.mount, place.path) not in self._read:
            self._read[place.mount, place.path] = self._fields(reference, place)
        value = self._read[place.mount, place.path].get(place.field)
        if not isinstance(value, str):
            what = "no such field" if value is None else "the field is no text"
            raise SecretMissing(f"{reference}: {what}", hint=f"bao kv put {place.mount}/{place.path} ...")
        return value.strip()

    def _fields(self, reference: SecretReference, place: VaultPlace) -> dict[str, Any]:
        try:
            from hvac.exceptions import Forbidden, InvalidPath, VaultError
            from requests import RequestException
        except ImportError as error:
            raise PackageMissing(
                f"{reference} needs the package hvac", hint="pip install 'perennial[vault]'"
            ) from error
        address = self._settings.vault_address
        try:
            if self._client is None:
                self._client = self._signed_in()
            answer = self._client.secrets.kv.v2.read_secret_version(
                path=place.path, mount_point=place.mount, raise_on_deleted_version=True
            )
            fields = answer["data"]["data"]
        except InvalidPath:
            raise SecretMissing(
                f"{reference}: {address} has no such secret, or it was deleted",
                hint=f"is {place.mount} a KV engine of version 2?  bao kv get -mount={place.mount} {place.path}",
            ) from None
        except Forbidden:
            raise SecretForbidden(
                f"{reference}: {address} denies it",
                hint=f'a valid token or role with the policy: path "{place.mount}/data/{place.path}" '
                '{ capabilities = ["read"] }',
            ) from None
        except (VaultError, RequestException) as error:
            raise SecretsUnavailable(
                f"{reference}: {address} does not answer as a vault: {type(error).__name__}",
                hint="does it run, unsealed? PERENNIAL_VAULT_ADDRESS, PERENNIAL_VAULT_CA, PERENNIAL_VAULT_NAMESPACE",
            ) from None
        except (KeyError, TypeError, ValueError):
            raise SecretsUnavailable(
                f"{reference}: {address} answers otherwise than the KV engine, version 2",
                hint="PERENNIAL_VAULT_ADDRESS",
            ) from None
        return dict(fields)

    def _signed_in(self) -> Any:
        import hvac
        import requests

        settings = self._settings
        address, is_loopback = settings.vault_server
        session = requests.Session()
        session.trust_env = not is_loopback  # a proxy would see what goes over plain http
        session.verify = True if settings.vault_ca is None else str(settings.vault_ca)
        client = hvac.Client(
            url=address, token="", namespace=settings.vault_namespace, timeout=TIMEOUT_SECONDS, session=session,
            allow_redirects=False,
        )  # fmt: skip
        if settings.vault_token_file is not None:
            client.token = _text(settings.vault_token_file, "PERENNIAL_VAULT_TOKEN_FILE")
        elif settings.vault_role is not None:
            client.auth.kubernetes.login(
                role=settings.vault_role,
                jwt=_text(settings.vault_jwt_file, "PERENNIAL_VAULT_JWT_FILE"),
                mount_point=settings.vault_auth,
            )
        else:
            raise SettingsError(
                f"nothing signs in to {address}",
                hint="PERENNIAL_VAULT_TOKEN_FILE, or PERENNIAL_VAULT_ROLE in Kubernetes",
            )
        return client


def _text(path: Path, variable: str) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{variable}: {path}: {type(error).__name__}", hint="name a readable file"
        ) from None
