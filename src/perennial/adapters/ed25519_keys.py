"""Ed25519 keys in files (RFC 8032, `cryptography`), for signing and verifying the head of the ledger."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from perennial.errors import SettingsError, UsageError

OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Ed25519Signer:
    """Signer with the private key in a file that only its owner may read.

    Raises:
        SettingsError: the file cannot be read, is no private Ed25519 key, or others may read it.
    """

    def __init__(self, path: Path) -> None:
        self._key = _private(path)
        self.public = _text(self._key.public_key())

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


def holds(public: str, message: bytes, signature: bytes) -> bool:
    """Return whether the owner of the key signed exactly this message.

    Args:
        public: the 32 bytes of the public key in base64.
    """
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public, validate=True))
        key.verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def generate(path: Path) -> str:
    """Write a new private key (PEM, mode 0600) and its `<path>.pub`; return the public key.

    Raises:
        UsageError: the file exists; a key is never overwritten.
    """
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise UsageError(f"{path} exists", hint="choose another file, or keep that key") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
    public = _text(key.public_key())
    Path(f"{path}.pub").write_text(public + "\n", encoding="ascii")
    return public


def read_public(path: Path) -> str:
    """Read the public key of a `.pub` file.

    Raises:
        SettingsError: the file cannot be read or is no Ed25519 key.
    """
    try:
        text = path.read_text(encoding="ascii").strip()
        Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{path} is no public key: {error}", hint="`perennial ledger keygen` writes <file>.pub"
        ) from error
    return text


def _private(path: Path) -> Ed25519PrivateKey:
    hint = (
        "`perennial ledger keygen` makes one for PERENNIAL_LEDGER_KEY, `perennial local setup` one for "
        "PERENNIAL_SIGNING_KEY"
    )
    try:
        if path.stat().st_mode & OTHERS:
            raise SettingsError(f"others may read the private key {path}", hint=f"chmod 600 {path}")
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise SettingsError(f"{path} is no private key: {error}", hint=hint) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(f"{path} is no Ed25519 key", hint=hint)
    return key


def _text(key: Ed25519PublicKey) -> str:
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return base64.b64encode(raw).decode()
