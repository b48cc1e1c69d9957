"""Contents of an encrypted file: chunks that can be read in any order, and never in another than was written.

The STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár ("Online Authenticated-Encryption and its Nonce-Reuse
Misuse-Resistance", 2015), as age and Tink use it: AES-256-GCM by a key of this file alone, the nonce of a chunk is its
number and whether it is the last one. So no chunk can be changed, moved, repeated, left out or cut off.
"""

from __future__ import annotations

import hashlib
import io
import os
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from perennial.encryption import header
from perennial.encryption.header import HEADER, MAGIC, TAG
from perennial.encryption.keyring import KEY_BYTES, Keyring

CHUNK = 1 << 16
"""Bytes of a chunk, but of the last one, which may be shorter."""
STORED = CHUNK + TAG


def encrypt(
    source: BinaryIO, target: BinaryIO, name: str, keyring: Keyring, most: int | None = None
) -> tuple[int, str]:
    """Encrypt a file.

    Args:
        name: name of the file, without which it does not open.
        most: bytes after which the source is left, since it may be growing; None: all.

    Returns:
        Size and SHA-256 of what was read.
    """
    data_key = os.urandom(KEY_BYTES)
    cipher, digest = AESGCM(data_key), hashlib.sha256()
    target.write(header.make(name, data_key, keyring))
    number = size = 0
    chunk = _read(source, CHUNK if most is None else min(CHUNK, most))
    while True:
        digest.update(chunk)
        size += len(chunk)
        after = (
            _read(source, CHUNK if most is None else min(CHUNK, most - size)) if len(chunk) == CHUNK else b""
        )
        target.write(cipher.encrypt(_nonce(number, is_last=not after), chunk, None))
        if not after:
            return size, digest.hexdigest()
        number, chunk = number + 1, after


def is_encrypted(start: bytes) -> bool:
    """Return whether a file that begins so is an encrypted one."""
    return start.startswith(MAGIC)


def encrypted_size(size: int) -> int:
    """Return the size of the encrypted file of a file."""
    return HEADER + size + TAG * max(1, -(-size // CHUNK))


def plain_size(stored: int) -> int:
    """Return the size of the file of an encrypted one."""
    body = stored - HEADER
    return body - TAG * max(1, -(-body // STORED))


def decrypted(source: BinaryIO, name: str, keyring: Keyring | None) -> io.BufferedReader:
    """Open an encrypted file that can be sought; every byte that it gives was authenticated.

    Raises:
        KeyMissing: names the key that would open it.
        DecryptionFailed: it was changed, cut off, or belongs to another name; later chunks say so when they are read.
    """
    return io.BufferedReader(_Decrypted(source, name, keyring), CHUNK)


class _Decrypted(io.RawIOBase):
    """Reads a chunk at a time. The last one is authenticated first: a file that was cut off gives no byte."""

    def __init__(self, source: BinaryIO, name: str, keyring: Keyring | None) -> None:
        super().__init__()
        self._source, self._name = source, name
        source.seek(0)
        self._cipher = AESGCM(header.data_key(_read(source, HEADER), name, keyring))
        stored = source.seek(0, os.SEEK_END)
        self._size, self._at = plain_size(stored), 0
        if stored < HEADER + TAG or encrypted_size(self._size) != stored:
            raise header.broken(name)
        self._last = max(0, -(-self._size // CHUNK) - 1)
        self._number, self._chunk = self._last, self._opened(self._last)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._at >= self._size:
            return 0
        number, offset = divmod(self._at, CHUNK)
        if number != self._number:
            self._number, self._chunk = number, self._opened(number)
        part = self._chunk[offset : offset + len(buffer)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)

    def _opened(self, number: int) -> bytes:
        self._source.seek(HEADER + number * STORED)
        try:
            return self._cipher.decrypt(
                _nonce(number, is_last=number == self._last), _read(self._source, STORED), None
            )
        except InvalidTag:
            raise header.broken(self._name) from None


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([is_last])


def _read(source: BinaryIO, size: int) -> bytes:
    """Read exactly so many bytes, or all that are left."""
    parts: list[bytes] = []
    while size > 0 and (part := source.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
