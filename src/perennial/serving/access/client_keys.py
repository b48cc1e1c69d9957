"""The file of client keys: hashes only, readable by its owner only. A change counts at the next request."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from filelock import FileLock
from pydantic import TypeAdapter, ValidationError

from perennial.core.governance import client_keys
from perennial.core.governance.client_keys import ClientKey
from perennial.errors import NotSignedIn, SettingsError
from perennial.files import PRIVATE, write_text
from perennial.settings import LOOPBACKS, Settings

KEYS = TypeAdapter(dict[str, ClientKey])
NONE: Mapping[str, ClientKey] = MappingProxyType({})
HINT = "perennial key add NAME prints a new key; send it as `authorization: Bearer KEY`"


def refuse_open_door(settings: Settings) -> None:
    """Check before Envoy starts that clients that are not on this machine can have a key.

    Raises:
        SettingsError: the public listener is not on loopback, and there is no key.
    """
    if settings.host not in LOOPBACKS and not ClientKeys(settings.client_keys).all():
        raise SettingsError(
            f"PERENNIAL_HOST is {settings.host}: clients need API keys, and there is none",
            hint="perennial key add NAME",
        )


class ClientKeys:
    """The keys of an installation."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._keys = NONE

    def all(self) -> Mapping[str, ClientKey]:
        """Return the keys by client name.

        Raises:
            SettingsError: the file is damaged, or others than its owner may read or change it.
        """
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            return NONE
        stamp = (status.st_ino, status.st_mtime_ns, status.st_mode)
        if stamp != self._seen:
            if status.st_mode & 0o077:
                raise SettingsError(
                    f"{self._path} is accessible to others", hint=f"chmod 600 {self._path}; renew the keys"
                )
            try:
                self._keys = KEYS.validate_json(self._path.read_bytes())
            except (OSError, ValidationError) as error:
                raise SettingsError(
                    f"{self._path} is no file of client keys", hint="restore it, or add the keys again"
                ) from error
            self._seen = stamp
        return self._keys

    def client(self, key: str, now: datetime) -> ClientKey:
        """Return what is stored of a key.

        Raises:
            NotSignedIn: there is no key, or it is unknown or expired.
        """
        stored = self.all().get(client_keys.name_in(key))
        if stored is None or not client_keys.opens(key, stored):
            raise NotSignedIn("a request without a known API key", hint=HINT)
        if stored.expired(now):
            raise NotSignedIn(f"the key of {stored.name} is expired", hint=HINT)
        return stored

    def put(self, key: ClientKey) -> None:
        """Add a key, or replace it: the earlier key of the client ends."""
        with self._locked():
            self._write({**self.all(), key.name: key})

    def remove(self, name: str) -> ClientKey | None:
        """Remove a client's key and return it; None if there is none."""
        with self._locked():
            keys = dict(self.all())
            key = keys.pop(name, None)
            if key is not None:
                self._write(keys)
        return key

    def _locked(self) -> FileLock:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(f"{self._path}.lock", timeout=10, mode=PRIVATE)

    def _write(self, keys: Mapping[str, ClientKey]) -> None:
        content = {name: key.model_dump(mode="json") for name, key in sorted(keys.items())}
        write_text(self._path, json.dumps(content, indent=2) + "\n", PRIVATE)
