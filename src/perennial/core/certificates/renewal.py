"""When certificates are renewed, which authority signs, and which authorities are trusted meanwhile. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

AUTHORITY_LIFE = timedelta(days=365)
SETTLE = timedelta(days=7)
"""From the day on which a new authority is trusted to the day on which it signs: every process has read it by then."""
RENEWED_AFTER = 2 / 3
"""Part of its life after which a certificate is renewed."""


@dataclass(frozen=True)
class Validity:
    """The time in which a certificate is valid."""

    begins: datetime
    ends: datetime

    def due(self, now: datetime) -> bool:
        """Return whether it is time to renew it."""
        return now >= self.begins + RENEWED_AFTER * (self.ends - self.begins)


@dataclass(frozen=True)
class Authority:
    """An authority of the plant.

    Attributes:
        name: of its folder.
        signs_from: when it signs in place of those before it.
    """

    name: str
    validity: Validity
    signs_from: datetime


@dataclass(frozen=True)
class Plan:
    """The authorities that sign, are trusted and are dropped.

    Attributes:
        signer: the one that signs; None: there is none that could, a new one must.
        trusted: those that every process trusts, the signer among them.
        dropped: those that nobody needs any more.
        make: whether a new authority is due.
    """

    signer: Authority | None
    trusted: tuple[Authority, ...]
    dropped: tuple[Authority, ...]
    make: bool


def plan(authorities: Sequence[Authority], now: datetime, leaf_life: timedelta) -> Plan:
    """Return who signs and who is trusted.

    A new authority is trusted at once and signs later; the one before stays trusted as long as a certificate that it
    has signed may be in use.
    """
    valid = sorted(
        (known for known in authorities if now < known.validity.ends), key=lambda known: known.signs_from
    )
    ended = tuple(known for known in authorities if known not in valid)
    signing = [known for known in valid if known.signs_from <= now]
    signer = signing[-1] if signing else None
    if signer is None:
        return Plan(None, tuple(valid), ended, make=True)
    superseded = tuple(before for before in signing[:-1] if now >= signer.signs_from + leaf_life)
    trusted = tuple(known for known in valid if known not in superseded)
    return Plan(signer, trusted, (*ended, *superseded), make=valid[-1].validity.due(now))


def leaf_end(now: datetime, life: timedelta, signer: Validity) -> datetime:
    """Return when a certificate that is signed now ends: not after its authority."""
    return min(now + life, signer.ends)
