"""The part of the model spec that says how scores are explained (`explanation` in the YAML)."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from perennial.core.frozen import Frozen


class ExplanationSpec(Frozen):
    """Explanation of scores by the contribution of each feature."""

    background: PositiveInt = Field(description="rows of the reference sample")
    coalitions: PositiveInt = Field(
        description="sets of features scored per row; at least twice the number of features"
    )
    max_rows: PositiveInt = Field(description="most rows that a request may have explained")
    tolerance: float = Field(gt=0, description="largest difference of base + attributions from the score")
    sample: PositiveInt = Field(description="holdout rows behind the global attributions")
