"""The folder of a backup: files as they were, or encrypted, each under its name and `.enc`.

A tool that writes or reads a whole file gets one in a scratch folder, which lies beside the plant's own files: nothing
unencrypted comes to the disk of the backup.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from perennial.adapters.backup import places
from perennial.encryption import header, stream
from perennial.encryption.keyring import Keyring
from perennial.errors import SettingsError
from perennial.files import PRIVATE, replacing, sha256, write_bytes

ENDING = ".enc"


class BackupFolder:
    """Files of a backup by name: a path below its root.

    Args:
        is_encrypted: its files are encrypted, all of them.
        scratch: folder for single files that a tool reads or writes; empty again afterwards.
    """

    def __init__(self, root: Path, scratch: Path, keyring: Keyring | None, *, is_encrypted: bool) -> None:
        self.root, self.is_encrypted = root, is_encrypted
        self._scratch, self._keyring = scratch, keyring

    def path(self, name: str) -> Path:
        """Return the path of a file as it is stored."""
        return self.root / self.stored_name(name)

    def stored_name(self, name: str) -> str:
        return f"{name}{ENDING}" if self.is_encrypted else name

    def stored(self) -> set[str]:
        """Return the paths below the root of all files that lie there, whoever put them there."""
        return {path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file()}

    def names(self) -> list[str]:
        """Return the names of the encrypted files; none where they are not."""
        stored = self.stored() if self.is_encrypted else ()
        return sorted(name.removesuffix(ENDING) for name in stored if name.endswith(ENDING))

    def copy(self, source: Path, name: str) -> tuple[int, str]:
        """Add a copy of a file with its mode and time; return size and SHA-256 of what was read."""
        if not self.is_encrypted:
            return places.copy_file(source, self.path(name))
        with source.open("rb") as read:
            read_of = self.add(read, name, os.fstat(read.fileno()).st_size)
        shutil.copystat(source, self.path(name))
        return read_of

    def add(self, source: BinaryIO, name: str, most: int | None = None) -> tuple[int, str]:
        """Add what an open file holds, or so many bytes of it; return size and SHA-256."""
        target = self.path(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as write:
            if self.is_encrypted:
                return stream.encrypt(source, write, name, self._ring(), most)
            return copied(source, write)

    def write(self, name: str, content: bytes) -> None:
        """Add a small file, as a whole or not at all."""
        if not self.is_encrypted:
            write_bytes(self.path(name), content, PRIVATE)
            return
        target = self.path(name)
        with replacing(target) as temporary, temporary.open("wb") as write:
            os.fchmod(write.fileno(), PRIVATE)
            stream.encrypt(io.BytesIO(content), write, name, self._ring())

    @contextmanager
    def made(self, name: str) -> Iterator[Path]:
        """Yield a path where a tool writes a file that is added when the block ends without an exception."""
        if not self.is_encrypted:
            self.path(name).parent.mkdir(parents=True, exist_ok=True)
            yield self.path(name)
            return
        with self._scratched() as path:
            yield path
            if path.exists():
                self.copy(path, name)

    @contextmanager
    def plain(self, name: str) -> Iterator[Path]:
        """Yield the path of a file as a tool can read it."""
        if not self.is_encrypted:
            yield self.path(name)
            return
        with self._scratched() as path:
            self.extract(name, path)
            yield path

    @contextmanager
    def opened(self, name: str) -> Iterator[BinaryIO]:
        """Open a file.

        Raises:
            KeyMissing, DecryptionFailed: it cannot be decrypted.
        """
        with self.path(name).open("rb") as file:
            yield stream.decrypted(file, name, self._keyring) if self.is_encrypted else file

    def read(self, name: str) -> bytes:
        with self.opened(name) as file:
            return file.read()

    def extract(self, name: str, target: Path) -> str:
        """Write a file to a place, with its mode and time; return the SHA-256 of what was written."""
        if not self.is_encrypted:
            return places.copy_file(self.path(name), target)[1]
        target.parent.mkdir(parents=True, exist_ok=True)
        with self.opened(name) as read, target.open("wb") as write:
            _, digest = copied(read, write)
        shutil.copystat(self.path(name), target)
        return digest

    def size_and_digest(self, name: str) -> tuple[int, str]:
        """Return size and SHA-256 of a file, which is authenticated meanwhile."""
        if not self.is_encrypted:
            return self.path(name).stat().st_size, sha256(self.path(name))
        with self.opened(name) as file:
            return size_and_digest_of(file)

    def rotate(self) -> tuple[int, int]:
        """Encrypt the key of each file by the first key of the ring; returns how many, and of how many.

        Can be killed and repeated at any time.
        """
        names = self.names()
        return sum(header.rotate(self.path(name), name, self._ring()) for name in names), len(names)

    def key_ids(self) -> set[str]:
        """Return the ids of all keys that opening needs; none for what is not encrypted."""
        ids: set[str] = set()
        for name in self.names():
            with self.path(name).open("rb") as file:
                ids.update(header.key_ids(file.read(header.HEADER), name))
        return ids

    def _ring(self) -> Keyring:
        if self._keyring is None:
            raise SettingsError(
                "PERENNIAL_ENCRYPTION_KEYS is not set", hint="perennial encryption generate FILE"
            )
        return self._keyring

    @contextmanager
    def _scratched(self) -> Iterator[Path]:
        self._scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._scratch / "file"
        try:
            yield path
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)


def copied(source: BinaryIO, target: BinaryIO) -> tuple[int, str]:
    """Copy an open file; return size and SHA-256."""
    digest, size = hashlib.sha256(), 0
    while block := source.read(places.BLOCK):
        target.write(block)
        digest.update(block)
        size += len(block)
    return size, digest.hexdigest()


def size_and_digest_of(file: BinaryIO) -> tuple[int, str]:
    """Return size and SHA-256 of the rest of an open file."""
    digest, size = hashlib.sha256(), 0
    while block := file.read(places.BLOCK):
        digest.update(block)
        size += len(block)
    return size, digest.hexdigest()
