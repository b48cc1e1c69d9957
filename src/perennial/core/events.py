"""Facts for the ledger, as every subject writes and reads them."""

from __future__ import annotations

from typing import Any

from pydantic import AwareDatetime, Field

from perennial.core.frozen import Frozen


class Entry(Frozen):
    """One fact. `payload` holds plain JSON values only."""

    at: AwareDatetime
    actor: str = Field(description="a person, or the part of the system that acted: policy, machine, monitor")
    kind: str = Field(description="what happened, as area.fact: release.canary, retrain.requested")
    model: str
    release_id: str | None = None
    digest: str | None = Field(None, description="SHA-256 of the model file it is about")
    payload: dict[str, Any] = Field(default_factory=dict)


class LedgerRow(Frozen):
    """An entry in its place of the chain."""

    seq: int = Field(ge=1)
    entry: Entry
    previous: str
    hash: str
