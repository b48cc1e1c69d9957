"""Settings of TLS, of the JWTs of clients, and of encryption at rest, checked when they are used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field, field_validator

from perennial.encryption.server_side import FORM
from perennial.errors import SettingsError

if TYPE_CHECKING:
    import ssl

    from perennial.encryption.keyring import Keyring
    from perennial.internal_tls.identity import Identity


class EncryptionSettings(BaseModel):
    """The part of the settings about TLS, JWTs and encryption at rest."""

    tls_cert: Path | None = Field(None, description="PEM certificate chain of Envoy's public listener")
    tls_key: Path | None = Field(None, description="PEM private key of Envoy's public listener")
    tls_ca: Path | None = Field(None, description="PEM certificates that our own clients trust")
    tls_pages: bool = Field(False, description="MLflow and Airflow use the certificate, too")
    internal_tls: Path | None = Field(
        None, description="folder of the certificates of TLS between the processes; none: plain on loopback"
    )
    internal_role: str = Field(
        "operator",
        pattern=r"^[a-z]+$",
        description="whose certificate this process has; `local up` sets it for the processes",
    )
    internal_tls_days: float = Field(
        7.0, gt=0, le=90, description="days that a certificate of a process is valid"
    )
    jwt_issuer: str | None = Field(None, description="issuer of the JWTs of clients; none: no JWTs")
    jwt_audience: str | None = Field(None, description="audience of the JWTs of clients")
    jwt_keys: Path | None = Field(None, description="JWKS file with the public keys of the issuer")
    encryption_keys: str | None = Field(
        None, repr=False, description="keys that encrypt backups and the uploaded log; the first one writes"
    )

    s3_encryption: str | None = Field(
        None,
        pattern=FORM,
        description="encryption by S3 itself of what is written there: AES256, aws:kms or aws:kms:KEY",
    )

    @property
    def keyring(self) -> Keyring | None:
        """Return the keys that encrypt what leaves this machine; None: nothing is encrypted.

        Raises:
            SettingsError: PERENNIAL_ENCRYPTION_KEYS cannot be read.
        """
        from perennial.encryption.keyring import parse  # a rollback does without it

        return None if self.encryption_keys is None else parse(self.encryption_keys)

    @field_validator("internal_tls")
    @classmethod
    def _same_folder(cls, folder: Path | None) -> Path | None:
        """Name the same folder in processes that run elsewhere."""
        return None if folder is None else folder.absolute()

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
    def internal_identity(self) -> Identity | None:
        """Return the certificate of this process inside the plant; None: there is no TLS inside.

        Raises:
            SettingsError: the files of its role cannot be read.
        """
        return None if self.internal_tls is None else self.identity_of(self.internal_role).check()

    def identity_of(self, role: str) -> Identity:
        """Return the certificate of a role, which another account may own."""
        assert self.internal_tls is not None  # noqa: S101 asked where there is TLS inside
        from perennial.internal_tls.identity import Identity

        return Identity(self.internal_tls / role)

    @property
    def verify(self) -> ssl.SSLContext | bool:
        """Return what httpx verifies the servers of this installation with."""
        trusted, identity = self.trusted_certificates, self.internal_identity
        if identity is not None:
            from perennial.internal_tls.contexts import pages_context

            return pages_context(identity, trusted)
        import ssl  # a rollback does without it

        return True if trusted is None else ssl.create_default_context(cafile=trusted)

    @property
    def verify_others(self) -> ssl.SSLContext:
        """Return what verifies servers of others: the system's authorities, and ours beside them."""
        import ssl

        context = ssl.create_default_context()
        if (trusted := self.trusted_certificates) is not None:
            context.load_verify_locations(trusted)
        return context

    @property
    def inside_scheme(self) -> str:
        """Return the scheme of the addresses of model servers and monitor."""
        return "http" if self.internal_tls is None else "https"

    @property
    def pages_encrypted(self) -> bool:
        """Return whether MLflow and Airflow have TLS: that of the public, else that of the plant."""
        return self.tls_pages or self.internal_tls is not None
