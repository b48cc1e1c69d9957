"""Keys that encrypt the keys of files: PERENNIAL_ENCRYPTION_KEYS."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from pathlib import Path
from typing import NamedTuple

from perennial.errors import SettingsError, UsageError
from perennial.files import PRIVATE, write_text
from perennial.secret_errors import KeyMissing

KEY_BYTES = 32
ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
FORM = "ID:KEY per line, the key in base64: perennial encryption generate FILE --id ID"


class Key(NamedTuple):
    """A key of AES-256 with its id."""

    id: str
    secret: bytes

    def __repr__(self) -> str:
        return f"Key({self.id})"


class Keyring:
    """The keys of a plant: the first one writes, all read."""

    def __init__(self, keys: tuple[Key, ...]) -> None:
        self._keys = {key.id: key for key in keys}
        self.first = keys[0]

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the ids of the keys, that of the writing one first."""
        return tuple(self._keys)

    def get(self, key_id: str) -> Key | None:
        return self._keys.get(key_id)

    def missing(self, what: str, key_ids: list[str]) -> KeyMissing:
        """Return the error for a file whose keys are not here."""
        return missing(what, key_ids, f"the keys here are {', '.join(self.ids)}")


def missing(what: str, key_ids: list[str], here: str = "there are no keys here") -> KeyMissing:
    """Return the error for a file whose keys are not here."""
    return KeyMissing(
        f"{what} is encrypted by the key {' or '.join(key_ids)}; {here}",
        hint="add that key, behind the others, to PERENNIAL_ENCRYPTION_KEYS",
    )


def parse(text: str) -> Keyring:
    """Read the text of the setting: `ID:KEY`, separated by white space or commas.

    Raises:
        SettingsError: it has another form, or an id twice. No part of a key is repeated.
    """
    keys = []
    for number, entry in enumerate(text.replace(",", " ").split(), 1):
        key_id, colon, encoded = entry.partition(":")
        try:
            secret = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            secret = b""
        if not colon or ID.fullmatch(key_id) is None or len(secret) != KEY_BYTES:
            raise SettingsError(
                f"PERENNIAL_ENCRYPTION_KEYS: entry {number} is no key of {KEY_BYTES} bytes", hint=FORM
            )
        keys.append(Key(key_id, secret))
    if not keys:
        raise SettingsError("PERENNIAL_ENCRYPTION_KEYS has no key", hint=FORM)
    if len({key.id for key in keys}) < len(keys):
        raise SettingsError(
            "PERENNIAL_ENCRYPTION_KEYS has an id twice", hint="an id is for one key, for ever"
        )
    return Keyring(tuple(keys))


def generate(path: Path, key_id: str) -> tuple[str, ...]:
    """Put a new random key in front of the keys of a file (mode 0600), which need not exist; return the ids.

    Raises:
        UsageError: the id is malformed. SettingsError: the file has other contents, or the id.
    """
    if ID.fullmatch(key_id) is None:
        raise UsageError(f"{key_id!r} is no id of a key", hint=f"it matches {ID.pattern}: 2026-03")
    known = path.read_text(encoding="utf-8") if path.exists() else ""
    if known.strip():
        parse(known)
    text = f"{key_id}:{base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}\n{known}"
    ids = parse(text).ids
    write_text(path, text, PRIVATE)
    return ids
