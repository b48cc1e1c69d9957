"""The head of an encrypted file: its data key, encrypted by a key of the plant.

Layout: a magic line, then two slots of the same form (id of the key, nonce, data key in AES-256-GCM). The associated
data is magic, id and name of the file, so that a file in the place of another does not open. One slot is used; a
rotation fills the other one before it empties the first, so that a kill in between leaves one that opens.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from perennial.encryption.keyring import ID, KEY_BYTES, Keyring, missing
from perennial.secret_errors import DecryptionFailed

MAGIC = b"PERENNIAL-ENC-1\n"
TAG, NONCE, ID_BYTES = 16, 12, 32
SLOT = ID_BYTES + NONCE + KEY_BYTES + TAG
SLOTS = 2
HEADER = len(MAGIC) + SLOTS * SLOT
EMPTY = bytes(SLOT)


def make(name: str, data_key: bytes, keyring: Keyring) -> bytes:
    """Return the header of a new file."""
    return MAGIC + _slot(name, data_key, keyring) + EMPTY * (SLOTS - 1)


def data_key(header: bytes, name: str, keyring: Keyring | None) -> bytes:
    """Return the key of a file's contents.

    Raises:
        KeyMissing: names the ids of the keys that would open it.
        DecryptionFailed: it was changed, or belongs to another file.
    """
    for slot in _slots(header, name):
        if (key := _opened(slot, name, keyring)) is not None:
            return key
    ids = [key_id for key_id in key_ids(header, name) if ID.fullmatch(key_id)]
    if ids and (keyring is None or not any(keyring.get(key_id) for key_id in ids)):
        raise missing(name, ids) if keyring is None else keyring.missing(name, ids)
    raise broken(name)


def key_ids(header: bytes, name: str) -> list[str]:
    """Return the ids of the keys by which a header was encrypted: one, or two in the middle of a rotation."""
    return [_id(slot) for slot in _slots(header, name)]


def rotated(header: bytes, name: str, keyring: Keyring) -> bytes | None:
    """Return the header by the first key of the ring; None: it is such a one."""
    slots = _slots(header, name)
    key = data_key(header, name, keyring)
    if len(slots) == 1 and _id(slots[0]) == keyring.first.id:
        return None
    return make(name, key, keyring)


def rotate(path: Path, name: str, keyring: Keyring) -> bool:
    """Encrypt the key of a file by the first key of the ring, in place; can be killed and repeated at any time.

    The file keeps its time of change: that of its contents.

    Returns:
        Whether anything was changed.
    """
    with path.open("r+b") as file:
        header, status = file.read(HEADER), os.fstat(file.fileno())
        if rotated(header, name, keyring) is None:
            return False
        key = data_key(header, name, keyring)
        raw = [_raw(header, number) for number in range(SLOTS)]
        opens = [number for number in range(SLOTS) if _opened(raw[number], name, keyring) is not None]
        fresh = next((number for number in opens if _id(raw[number]) == keyring.first.id), None)
        if fresh is None:
            fresh = next(number for number in range(SLOTS) if number != opens[0])
            _write(file, fresh, _slot(name, key, keyring))
        for number in range(SLOTS):
            if number != fresh:
                _write(file, number, EMPTY)
        os.utime(file.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
    return True


def broken(name: str) -> DecryptionFailed:
    """Return the error for a file that does not open, though its key is here."""
    return DecryptionFailed(
        f"{name} was changed, cut off or put in the place of another, or its key here is another of the same id",
        hint="take another copy of the file, or the right key",
    )


def _write(file: BinaryIO, number: int, slot: bytes) -> None:
    file.seek(len(MAGIC) + number * SLOT)
    file.write(slot)
    file.flush()
    os.fsync(file.fileno())


def _raw(header: bytes, number: int) -> bytes:
    start = len(MAGIC) + number * SLOT
    return header[start : start + SLOT]


def _slots(header: bytes, name: str) -> list[bytes]:
    if len(header) < HEADER or not header.startswith(MAGIC):
        raise broken(name)
    return [slot for slot in (_raw(header, number) for number in range(SLOTS)) if slot != EMPTY]


def _slot(name: str, key: bytes, keyring: Keyring) -> bytes:
    key_id = keyring.first.id.encode().ljust(ID_BYTES, b"\0")
    nonce = os.urandom(NONCE)
    return key_id + nonce + AESGCM(keyring.first.secret).encrypt(nonce, key, MAGIC + key_id + name.encode())


def _opened(slot: bytes, name: str, keyring: Keyring | None) -> bytes | None:
    key = None if keyring is None else keyring.get(_id(slot))
    if key is None:
        return None
    key_id, nonce, encrypted = slot[:ID_BYTES], slot[ID_BYTES : ID_BYTES + NONCE], slot[ID_BYTES + NONCE :]
    try:
        return AESGCM(key.secret).decrypt(nonce, encrypted, MAGIC + key_id + name.encode())
    except InvalidTag:
        return None


def _id(slot: bytes) -> str:
    return slot[:ID_BYTES].rstrip(b"\0").decode("ascii", errors="backslashreplace")
