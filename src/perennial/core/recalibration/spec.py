"""The part of the model spec about a new calibration between trainings (`recalibration` in the YAML)."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, PositiveInt, model_validator

from perennial.core.frozen import Frozen


class RecalibrationSpec(Frozen):
    """Switch and bounds of a recalibration."""

    enabled: bool = Field(
        False, description="whether `perennial recalibrate` may make versions of this model"
    )
    largest_change: Annotated[float, Field(gt=0, le=0.5)] = Field(
        0.2,
        description="largest change of an answer from that of the trained weights: of a probability, of a number in "
        "standard deviations of the target",
    )
    fewest_labels: Annotated[int, Field(ge=100)] = Field(
        500, description="labelled answers below which nothing is fitted"
    )
    rows: PositiveInt = Field(5000, description="newest labelled answers that fit and judge")

    @model_validator(mode="after")
    def enough_rows(self) -> Self:
        if self.rows < self.fewest_labels:
            raise ValueError("rows: fewer than fewest_labels")
        return self
