"""The vault that secret settings may be read from, a part of the settings."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, Field

from perennial.errors import SettingsError
from perennial.installation import LOOPBACKS


class VaultSettings(BaseModel):
    """A field per variable. No started process gets them: it gets the secrets that it needs, in files."""

    vault_address: str | None = Field(
        None,
        pattern=r"^https?://[^/@\s]+$",
        description="HashiCorp Vault or OpenBao, as https://vault.example.com:8200",
    )
    vault_token_file: Path | None = Field(None, description="file with the token that reads the secrets")
    vault_role: str | None = Field(
        None, description="role of the Kubernetes sign-in, where there is no token"
    )
    vault_auth: str = Field("kubernetes", description="path of the Kubernetes sign-in in the vault")
    vault_jwt_file: Path = Field(
        Path("/var/run/secrets/kubernetes.io/serviceaccount/token"), description="token of the pod's account"
    )
    vault_namespace: str | None = Field(None, description="namespace of the vault")
    vault_ca: Path | None = Field(None, description="PEM certificates that the vault is verified with")

    @property
    def vault_server(self) -> tuple[str, bool]:
        """Return the address of the vault, and whether it is of this machine.

        Raises:
            SettingsError: there is none, or it is plain http to another machine.
        """
        if self.vault_address is None:
            raise SettingsError("PERENNIAL_VAULT_ADDRESS is not set", hint="https://vault.example.com:8200")
        parts = urlsplit(self.vault_address)
        is_loopback = parts.hostname in LOOPBACKS
        if parts.scheme != "https" and not is_loopback:
            raise SettingsError(
                f"PERENNIAL_VAULT_ADDRESS is {self.vault_address}: everybody on the way would read the secrets",
                hint="https://, and PERENNIAL_VAULT_CA for a certificate of your own authority",
            )
        if self.vault_ca is not None and not self.vault_ca.is_file():
            raise SettingsError(
                f"PERENNIAL_VAULT_CA is {self.vault_ca}: no file", hint="a file of PEM certificates"
            )
        return self.vault_address, is_loopback
