"""How the model servers hold a model (`serving` in the YAML)."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from perennial.core.frozen import Frozen


class Load(StrEnum):
    """Time at which a server loads a version."""

    PINNED = "pinned"
    """Before the server is ready; it stays."""
    ON_DEMAND = "on_demand"
    """At the first request that names it; it may leave for another."""


class ServingSpec(Frozen):
    """Policy of the model servers."""

    load: Load = Field(
        Load.PINNED, description="a version of a model with a release under way is always pinned"
    )
