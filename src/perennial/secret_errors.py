"""Errors of secrets and keys."""

from __future__ import annotations

from perennial.errors import PerennialError, SettingsError, ToolError


class SecretMissing(SettingsError, exit_code=14):
    """A secret is not where a setting says that it is."""


class SecretForbidden(SettingsError, exit_code=15):
    """This account may not read a secret."""


class SecretsUnavailable(ToolError, exit_code=16):
    """The vault that has a secret does not answer."""


class KeyMissing(SettingsError, exit_code=17):
    """No key of PERENNIAL_ENCRYPTION_KEYS has the id that encrypted a file."""


class DecryptionFailed(PerennialError, exit_code=18):
    """An encrypted file was changed, cut off, or put in the place of another."""
