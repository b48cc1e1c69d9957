"""Model of the cultivar of a wine, over its chemical analyses."""

from __future__ import annotations

from perennial.models.templates.linear import Linear


class WineCultivar(Linear):
    """Weighted sums of the inputs; with `tuning.templates` of its spec other kinds of model compete with it."""

    architecture = "linear/1"
