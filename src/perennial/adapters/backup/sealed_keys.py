"""Files in one encrypted file: AES-256-GCM under a key that scrypt makes of a passphrase (`cryptography`)."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from perennial.errors import NotAllowed, UsageError

MAGIC = b"perennial keys 1\n"
SALT, NONCE = 16, 12
SHORTEST = 12
COST = {"n": 2**15, "r": 8, "p": 1}
"""Some 32 MiB and a tenth of a second for each guess at a passphrase."""


def check_passphrase(passphrase: str) -> None:
    """Refuse a passphrase that is short; raises UsageError."""
    if len(passphrase) < SHORTEST:
        raise UsageError(
            f"the passphrase has fewer than {SHORTEST} characters", hint="openssl rand -base64 24"
        )


def seal(contents: Mapping[str, bytes], passphrase: str) -> bytes:
    """Encrypt files by name; raises as `check_passphrase`."""
    check_passphrase(passphrase)
    plain = json.dumps({name: base64.b64encode(content).decode() for name, content in contents.items()})
    salt, nonce = os.urandom(SALT), os.urandom(NONCE)
    return MAGIC + salt + nonce + _cipher(passphrase, salt).encrypt(nonce, plain.encode(), MAGIC)


def unseal(sealed: bytes, passphrase: str) -> dict[str, bytes]:
    """Decrypt what `seal` made.

    Raises:
        NotAllowed: the passphrase is another, or the file was changed.
    """
    start = len(MAGIC)
    salt, nonce = sealed[start : start + SALT], sealed[start + SALT : start + SALT + NONCE]
    try:
        plain = _cipher(passphrase, salt).decrypt(nonce, sealed[start + SALT + NONCE :], MAGIC)
    except (InvalidTag, ValueError) as error:
        raise NotAllowed(
            "the passphrase does not open the keys of the backup", hint="name its file"
        ) from error
    return {name: base64.b64decode(content) for name, content in json.loads(plain).items()}


def _cipher(passphrase: str, salt: bytes) -> AESGCM:
    return AESGCM(Scrypt(salt=salt, length=32, **COST).derive(passphrase.encode()))
