"""Settings of TLS, and of the JWTs of clients: files and names, checked when they are used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from perennial.errors import SettingsError

if TYPE_CHECKING:
    import ssl


class EncryptionSettings(BaseModel):
    """The part of the settings about TLS and JWTs."""

    tls_cert: Path | None = Field(None, description="PEM certificate chain of Envoy's public listener")
    tls_key: Path | None = Field(None, description="PEM private key of Envoy's public listener")
    tls_ca: Path | None = Field(None, description="PEM certificates that our own clients trust")
    tls_pages: bool = Field(False, description="MLflow and Airflow use the certificate, too")
    jwt_issuer: str | None = Field(None, description="issuer of the JWTs of clients; none: no JWTs")
    jwt_audience: str | None = Field(None, description="audience of the JWTs of clients")
    jwt_keys: Path | None = Field(None, description="JWKS file with the public keys of the issuer")

    @property
    def tls(self) -> tuple[Path, Path] | None:
        """Return the files of certificate chain and private key of the public listener; None: no TLS.

        Raises:
            SettingsError: one of the two is not set, or there is no such file.
        """
        if self.tls_cert is None and self.tls_key is None:
            return None
        for name, path in (("TLS_CERT", self.tls_cert), ("TLS_KEY", self.tls_key)):
            if path is None or not path.is_file():
                raise SettingsError(f"PERENNIAL_{name} is {path}: no file", hint="make dev-certificates")
        assert self.tls_cert is not None and self.tls_key is not None  # noqa: S101, PT018 checked above
        return self.tls_cert.resolve(), self.tls_key.resolve()

    @property
    def pages_tls(self) -> tuple[Path, Path] | None:
        """Return the files of certificate chain and private key of MLflow and Airflow; None: no TLS.

        Raises:
            SettingsError: TLS is wanted, and there is no certificate; or as for `tls`.
        """
        tls = self.tls
        if self.tls_pages and tls is None:
            raise SettingsError(
                "PERENNIAL_TLS_PAGES needs PERENNIAL_TLS_CERT and PERENNIAL_TLS_KEY",
                hint="make dev-certificates",
            )
        return tls if self.tls_pages else None

    @property
    def jwt(self) -> tuple[str, str, Path] | None:
        """Return issuer, audience and JWKS file of the JWTs of clients; None: there are none.

        Raises:
            SettingsError: one of the three is not set, or there is no such file of keys.
        """
        if self.jwt_issuer is None and self.jwt_audience is None and self.jwt_keys is None:
            return None
        if not self.jwt_issuer or not self.jwt_audience or self.jwt_keys is None:
            raise SettingsError(
                "PERENNIAL_JWT_ISSUER, _AUDIENCE and _KEYS go together", hint="set or unset all three"
            )
        try:
            keys = json.loads(self.jwt_keys.read_bytes())["keys"]
        except (OSError, ValueError, KeyError, TypeError):
            keys = None
        if not isinstance(keys, list) or not keys:
            raise SettingsError(
                f"PERENNIAL_JWT_KEYS is {self.jwt_keys}: no JWKS file with keys",
                hint='{"keys": [...]}, as the issuer publishes it',
            )
        return self.jwt_issuer, self.jwt_audience, self.jwt_keys.resolve()

    @property
    def trusted_certificates(self) -> Path | None:
        """Return the file of certificates that our own clients trust instead of the system's.

        Raises:
            SettingsError: there is no such file.
        """
        if self.tls_ca is not None and not self.tls_ca.is_file():
            raise SettingsError(f"PERENNIAL_TLS_CA is {self.tls_ca}: no file", hint="make dev-certificates")
        return None if self.tls_ca is None else self.tls_ca.resolve()

    @property
    def verify(self) -> ssl.SSLContext | bool:
        """Return what httpx verifies the servers of this installation with."""
        import ssl  # a rollback does without it

        trusted = self.trusted_certificates
        return True if trusted is None else ssl.create_default_context(cafile=trusted)

    @property
    def verify_others(self) -> ssl.SSLContext:
        """Return what verifies servers of others: the system's authorities, and ours beside them."""
        import ssl

        context = ssl.create_default_context()
        if (trusted := self.trusted_certificates) is not None:
            context.load_verify_locations(trusted)
        return context
