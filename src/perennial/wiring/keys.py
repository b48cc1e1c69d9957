"""Adapters of the keys that sign the head of the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from perennial.settings import Settings, load

if TYPE_CHECKING:
    from perennial import ports


def signer(settings: Settings | None = None) -> ports.Signer:
    """Return the signer of PERENNIAL_LEDGER_KEY.

    Raises:
        SettingsError: no key is set, or the file is no private key that only its owner may read.
    """
    from perennial.adapters.ed25519_keys import Ed25519Signer
    from perennial.errors import SettingsError

    key = (settings or load()).ledger_key
    if key is None:
        raise SettingsError(
            "PERENNIAL_LEDGER_KEY is not set", hint="perennial ledger keygen FILE, then set it to FILE"
        )
    return Ed25519Signer(key)


def signature_holds(public: str, message: bytes, signature: bytes) -> bool:
    from perennial.adapters.ed25519_keys import holds

    return holds(public, message, signature)


def public_key(path: Path) -> str:
    from perennial.adapters.ed25519_keys import read_public

    return read_public(path)


def new_key(path: Path) -> str:
    """Write a new private key; return the public key."""
    from perennial.adapters.ed25519_keys import generate

    return generate(path)
