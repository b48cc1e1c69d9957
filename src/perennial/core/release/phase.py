"""Phases of a release."""

from __future__ import annotations

from enum import StrEnum

from perennial.core.events import RELEASE_AREA, Event


class Phase(StrEnum):
    """Phase of a release. A pause is no phase: it is a set of reasons beside it."""

    PENDING = "PENDING"
    """Known, not yet gated."""
    GATED = "GATED"
    AWAITING_APPROVAL = "AWAITING_APPROVAL"
    LOADING = "LOADING"
    """Approved; the canary pool loads it."""
    SHADOW = "SHADOW"
    """Gets copies of the requests; its answers are dropped."""
    CANARY = "CANARY"
    """Answers a share of the requests, or all of them while the champion stays warm."""
    PROMOTING = "PROMOTING"
    """The stable pool loads it, then it gets everything."""
    SUCCEEDED = "SUCCEEDED"
    ABORTING = "ABORTING"
    """Loses its traffic, then its place in the pools."""
    ROLLED_BACK = "ROLLED_BACK"
    REJECTED = "REJECTED"
    SUPERSEDED = "SUPERSEDED"
    OBSERVED = "OBSERVED"
    """Got copies of the requests for the set time and nothing was proven against it. It answered nobody
    and is no champion: the end of a `shadow_only` release."""

    @property
    def event(self) -> Event:
        """The ledger's event of entering this phase; PENDING has none: a release begins with RELEASE_OPENED."""
        return Event(f"{RELEASE_AREA}{self.value.lower()}")

    def is_final(self) -> bool:
        return self in FINAL

    def is_before_traffic(self) -> bool:
        """Return whether no request and no copy of a request has reached the candidate yet."""
        return self in (Phase.PENDING, Phase.GATED, Phase.AWAITING_APPROVAL, Phase.LOADING)

    def is_measured(self) -> bool:
        """Return whether the candidate is judged by the traffic that it gets."""
        return self in (Phase.SHADOW, Phase.CANARY)


FINAL = frozenset((Phase.SUCCEEDED, Phase.ROLLED_BACK, Phase.REJECTED, Phase.SUPERSEDED, Phase.OBSERVED))
