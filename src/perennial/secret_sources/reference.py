"""References to secrets, and the port of their sources."""

from __future__ import annotations

import re
from typing import NamedTuple, Protocol

from perennial.errors import SettingsError

FILE, VAULT = "file", "vault"
VAULT_PATH = re.compile(
    r"(?P<mount>[A-Za-z0-9_./-]+?)/data/(?P<path>[A-Za-z0-9_.@/-]+)#(?P<field>[A-Za-z0-9_.-]+)"
)


class SecretReference(NamedTuple):
    """Where a secret lies. It is no secret itself: errors name it."""

    variable: str
    """Name of the environment variable that has the reference."""
    scheme: str
    place: str

    def __str__(self) -> str:
        return f"{self.variable}: {self.scheme}:{self.place}"


class VaultPlace(NamedTuple):
    """Parts of the place of a secret in the KV engine, version 2."""

    mount: str
    path: str
    field: str


class SecretSource(Protocol):
    """Reads secrets of one scheme."""

    def read(self, reference: SecretReference) -> str:
        """Return the value, without blanks and line ends around it.

        Raises:
            SecretMissing: there is none at that place.
            SecretForbidden: this account may not read it.
            SecretsUnavailable: the source does not answer.
        """


def parse(variable: str, text: str) -> SecretReference:
    """Read a reference: `file:PATH` or `vault:MOUNT/data/PATH#FIELD`.

    Raises:
        SettingsError: it has another form. The text is not repeated: it may be the secret itself.
    """
    scheme, colon, place = text.partition(":")
    if not colon or scheme not in (FILE, VAULT) or not place:
        raise SettingsError(
            f"{variable} is no reference to a secret",
            hint="file:/run/secrets/NAME, or vault:secret/data/perennial#NAME",
        )
    reference = SecretReference(variable, scheme, place)
    if scheme == VAULT:
        vault_place(reference)
    return reference


def vault_place(reference: SecretReference) -> VaultPlace:
    """Return the parts of a place in the vault.

    Raises:
        SettingsError: it has another form.
    """
    match = VAULT_PATH.fullmatch(reference.place)
    if match is None:
        raise SettingsError(
            f"{reference.variable} is no place in the KV engine, version 2",
            hint="vault:MOUNT/data/PATH#FIELD, the path as a policy names it: vault:secret/data/perennial#database_url",
        )
    return VaultPlace(**match.groupdict())
