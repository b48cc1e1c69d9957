"""Explanation settings that a version carries to the servers."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from perennial.core.frozen import Frozen


class ServedExplanation(Frozen):
    """Settings in the manifest with which a server explains a version."""

    background: str = Field("background.json", description="file beside the model")
    background_digest: str = Field(description="SHA-256 of that file (hex)")
    coalitions: PositiveInt = Field(description="most sets of known features to score per row")
    max_rows: PositiveInt = Field(description="most rows to explain per request")
    tolerance: float = Field(gt=0, description="largest distance of base + attributions from the score")
    seed: int = Field(description="seed of the drawn sets: the same row gets the same explanation")
