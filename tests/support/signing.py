"""A key of the tests that signs the files of versions, and the folder in which it is trusted."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from perennial.serving.signed_files import SIGNED_FILES, TrustedKeys, sign_files

FOLDER = Path(__file__).parent / "trusted_keys"
TRUSTED = TrustedKeys(FOLDER)


class Key:
    """A Signer made of 32 known bytes."""

    def __init__(self, seed: bytes = b"perennial tests sign with this k") -> None:
        self.private = Ed25519PrivateKey.from_private_bytes(seed)
        raw = self.private.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw
        )
        self.public = base64.b64encode(raw).decode()

    def sign(self, message: bytes) -> bytes:
        return self.private.sign(message)

    def write(self, path: Path) -> Path:
        """Write the private key as PEM that only its owner may read."""
        content = self.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            file.write(content)
        return path


KEY = Key()
STRANGER = Key(b"a key that nobody ever trusted..")


def signed(folder: Path, model: str, capsule: str = "capsule-of-test", key: Key = KEY) -> str:
    """Sign the files of a folder anew; returns the digest."""
    (folder / SIGNED_FILES).unlink(missing_ok=True)
    return sign_files(folder, model, capsule, key)
