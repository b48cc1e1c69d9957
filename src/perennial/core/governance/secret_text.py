"""Secrets as texts `mark_name_secret`, kept as a hash: tokens of people, keys of clients and of feedback sources. Pure.

A secret has 256 random bits, so a plain SHA-256 of it cannot be guessed back; slow hashes are for passwords,
which people choose (OWASP Password Storage Cheat Sheet).
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Protocol


class Hashed(Protocol):
    """Stored facts about a secret."""

    @property
    def sha256(self) -> str: ...


def written(mark: str, name: str, secret: str) -> str:
    """Return the text that is given to its holder.

    Args:
        mark: first part of the text, by which scanners for secrets recognise it.
    """
    return f"{mark}_{name}_{secret}"


def name_in(mark: str, text: str) -> str:
    """Return the name that a text claims to be of; empty if it has another form."""
    parts = text.strip().split("_", 2)
    return parts[1] if len(parts) == 3 and parts[0] == mark and all(parts) else ""


def hashed(text: str) -> str:
    """Return the SHA-256 (hex) that is stored instead of the text."""
    return hashlib.sha256(text.strip().encode()).hexdigest()


def opens(text: str, stored: Hashed) -> bool:
    """Return whether this is the stored text, in the same time for every wrong text."""
    return hmac.compare_digest(hashed(text), stored.sha256)
