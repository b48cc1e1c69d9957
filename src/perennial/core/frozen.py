"""What every value of the core is made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Percent = Annotated[float, Field(ge=0.0, le=100.0)]


class Frozen(BaseModel):
    """Cannot be changed, and knows its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
