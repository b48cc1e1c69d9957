"""Adapters of the keys that sign the head of the ledger."""

from __future__ import annotations

from pathlib import Path
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


def certificates() -> ModuleType:
    """Return the module that reads TLS certificates and their keys."""
    from perennial.adapters import tls_certificates

    return tls_certificates


def file_signer(settings: Settings) -> ports.Signer:
    """Return the signer of the files of a version.

    Raises:
        SettingsError: there is no key, or others may read it.
    """
    from perennial.adapters.ed25519_keys import Ed25519Signer
    from perennial.errors import SettingsError

    path = settings.signing_key_file
    if not path.is_file():
        raise SettingsError(
            f"the key that signs the files of a version is missing: {path}",
            hint="`perennial local setup` makes it; PERENNIAL_SIGNING_KEY names another place",
        )
    return Ed25519Signer(path)


def make_signing_key(settings: Settings) -> bool:
    """Make the key that signs the files of a version, and trust it where no key is trusted yet; idempotent.

    A key or a folder of trusted keys elsewhere (by the settings) is left to whoever set it.

    Returns:
        Whether a key was made.
    """
    from perennial.files import write_text

    key, trusted = settings.signing_key_file, settings.trusted_keys_folder
    if settings.signing_key is not None:
        return False
    fresh = not key.exists()
    public = ed25519().generate(key) if fresh else ed25519().read_public(Path(f"{key}.pub"))
    if settings.trusted_keys is None and not list(trusted.glob("*.pub")):
        write_text(trusted / "signing.pub", public + "\n")
    return fresh
