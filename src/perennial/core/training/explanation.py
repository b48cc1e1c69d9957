"""How scores are explained: what the spec says, and what of it goes with a version."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from perennial.core.frozen import Frozen


class ServedExplanation(Frozen):
    """What a server needs to explain a version; stands in its manifest."""

    background: str = Field("background.json", description="file beside the model")
    background_digest: str = Field(description="SHA-256 of that file (hex)")
    coalitions: PositiveInt = Field(description="sets of known features that are scored per row, at most")
    max_rows: PositiveInt = Field(description="rows that one request may have explained")
    tolerance: float = Field(gt=0, description="base + attributions may miss the score by so much")
    seed: int = Field(description="of the sets that are drawn: the same row gets the same explanation")
