"""The client keys of an installation, and when clients need one."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from perennial.core.governance.client_keys import MARK, Client, ClientKey
from perennial.errors import NotSignedIn, SettingsError
from perennial.serving.access.key_file import KeyFile
from perennial.settings import LOOPBACKS, Settings

HINT = "perennial key add NAME prints a new key; send it as `authorization: Bearer KEY`"


def refuse_open_door(settings: Settings) -> None:
    """Check before Envoy starts that clients that are not on this machine can have a key.

    A serving machine is handed the keys by the control plane; until then its servers refuse every client.

    Raises:
        SettingsError: the public listener is not on loopback, and there is neither a key nor an issuer of JWTs.
    """
    given = settings.jwt is not None or ClientKeys(settings.client_keys).all()
    if settings.host not in LOOPBACKS and not given and settings.plane != "serving":
        raise SettingsError(
            f"PERENNIAL_HOST is {settings.host}: clients need API keys or JWTs, and there is neither",
            hint="perennial key add NAME",
        )


class ClientKeys(KeyFile[ClientKey]):
    """The keys of an installation."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, ClientKey, MARK, "client keys", "a request without a known API key", HINT)

    def client(self, key: str, now: datetime) -> Client:
        """Return the client that a key belongs to.

        Raises:
            NotSignedIn: there is no key, or it is unknown or expired.
        """
        stored = self.holder(key)
        if stored.expired(now):
            raise NotSignedIn(f"the key of {stored.name} is expired", hint=HINT)
        return stored.client
