"""Adapters of the keys that sign the head of the ledger."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from perennial.settings import Settings

if TYPE_CHECKING:
    from perennial import ports


def signer(settings: Settings) -> ports.Signer:
    """Return the signer of PERENNIAL_LEDGER_KEY.

    Raises:
        SettingsError: no key is set, or the file is no private key that only its owner may read.
    """
    from perennial.adapters.ed25519_keys import Ed25519Signer
    from perennial.errors import SettingsError

    key = settings.ledger_key
    if key is None:
        raise SettingsError(
            "PERENNIAL_LEDGER_KEY is not set", hint="perennial ledger keygen FILE, then set it to FILE"
        )
    return Ed25519Signer(key)


def ed25519() -> ModuleType:
    """Return the module that makes and reads keys and checks signatures."""
    from perennial.adapters import ed25519_keys

    return ed25519_keys
