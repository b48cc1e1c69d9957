"""One trial of a parameter search, free of the library that searches."""

from __future__ import annotations

from pydantic import Field

from perennial.core.frozen import Frozen

ParameterValue = str | int | float | bool


class Trial(Frozen):
    number: int = Field(ge=0)
    parameters: dict[str, ParameterValue]
    value: float | None = Field(
        description="the objective at the epoch that was kept; None if pruned or failed"
    )
    curve: tuple[float, ...] = Field((), description="the objective after each epoch")
    pruned: bool = False
    failed: bool = Field(False, description="ended by an error or a kill")
