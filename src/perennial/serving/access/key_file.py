"""A file of keys: hashes only, readable by its owner only. A change of the file counts at the next call."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Generic, Protocol, TypeVar

from filelock import FileLock
from pydantic import TypeAdapter, ValidationError

from perennial.core.governance.secret_text import Hashed, name_in, opens
from perennial.errors import NotSignedIn, SettingsError
from perennial.files import PRIVATE, write_text


class StoredKey(Hashed, Protocol):
    """Stored facts about a key, found by the name of its holder."""

    @property
    def name(self) -> str: ...


Stored = TypeVar("Stored", bound=StoredKey)


class KeyFile(Generic[Stored]):
    """The keys of one kind.

    Args:
        kind: model of a stored key.
        mark: first part of every key of this kind.
        what: the stored keys in messages, such as "client keys".
        refusal: message about a request without a known key; `hint` says how to get one.
    """

    def __init__(self, path: Path, kind: type[Stored], mark: str, what: str, refusal: str, hint: str) -> None:
        self._path = path
        self._entries = TypeAdapter(dict[str, kind])  # type: ignore[valid-type]
        self._mark, self._what, self._refusal, self._hint = mark, what, refusal, hint
        self._seen: tuple[int, int, int] | None = None
        self._keys: Mapping[str, Stored] = MappingProxyType({})

    def all(self) -> Mapping[str, Stored]:
        """Return the stored keys by name.

        Raises:
            SettingsError: the file is damaged, or others than its owner may read or change it.
        """
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            return MappingProxyType({})
        stamp = (status.st_ino, status.st_mtime_ns, status.st_mode)
        if stamp != self._seen:
            if status.st_mode & 0o077:
                raise SettingsError(
                    f"{self._path} is accessible to others", hint=f"chmod 600 {self._path}; renew the keys"
                )
            try:
                self._keys = self._entries.validate_json(self._path.read_bytes())
            except (OSError, ValidationError) as error:
                raise SettingsError(
                    f"{self._path} is no file of {self._what}",
                    hint=f"restore it, or add the {self._what} again",
                ) from error
            self._seen = stamp
        return self._keys

    def holder(self, key: str) -> Stored:
        """Return what is stored of a key.

        Raises:
            NotSignedIn: there is no key, or it is unknown.
        """
        stored = self.all().get(name_in(self._mark, key))
        if stored is None or not opens(key, stored):
            raise NotSignedIn(self._refusal, hint=self._hint)
        return stored

    def put(self, key: Stored) -> None:
        """Add a key, or replace it: the earlier key of this name ends."""
        with self._locked():
            self._write({**self.all(), key.name: key})

    def remove(self, name: str) -> Stored | None:
        """Remove a key and return it; None if there is none of this name."""
        with self._locked():
            keys = dict(self.all())
            key = keys.pop(name, None)
            if key is not None:
                self._write(keys)
        return key

    def _locked(self) -> FileLock:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(f"{self._path}.lock", timeout=10, mode=PRIVATE)

    def _write(self, keys: Mapping[str, Stored]) -> None:
        content = self._entries.dump_python(dict(sorted(keys.items())), mode="json")
        write_text(self._path, json.dumps(content, indent=2) + "\n", PRIVATE)
