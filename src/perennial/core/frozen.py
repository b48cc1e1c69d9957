"""The base of values that never change once they are made."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Percent = Annotated[float, Field(ge=0.0, le=100.0)]


class Frozen(BaseModel):
    """An unknown key is an error, and so is a change."""

    model_config = ConfigDict(frozen=True, extra="forbid")
