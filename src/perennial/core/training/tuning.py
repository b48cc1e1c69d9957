"""Trials of a parameter search, independent of the search library."""

from __future__ import annotations

from pydantic import Field

from perennial.core.frozen import Frozen

ParameterValue = str | int | float | bool


class Trial(Frozen):
    """A training with a set of parameters."""

    number: int = Field(ge=0)
    parameters: dict[str, ParameterValue]
    value: float | None = Field(description="objective at the kept epoch; None if pruned or failed")
    curve: tuple[float, ...] = Field((), description="objective after each epoch")
    pruned: bool = False
    failed: bool = Field(False, description="ended by an error or a kill")
