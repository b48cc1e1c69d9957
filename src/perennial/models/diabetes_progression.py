"""Model of the progression of diabetes, over ten measurements of a patient."""

from __future__ import annotations

from perennial.models.templates.linear import Linear


class DiabetesProgression(Linear):
    """Weighted sums of the inputs; with `tuning.templates` of its spec other kinds of model compete with it."""

    architecture = "linear/1"
