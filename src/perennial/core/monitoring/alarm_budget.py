"""Division of the false alarms that a plant accepts over its models.

Each model's detector accrues its share with time (`harm_evidence`), so the expected false alarms of all models together
are at most the budget, however the models depend on each other: expectations add up. This is the e-detector form of
Bonferroni's division (Dandapanthula and Ramdas, "Multiple testing in multi-stream sequential change detection", 2025).
Equal shares: a model with half the share needs only log(2) more evidence, so weights would change little.
"""

from __future__ import annotations

from pydantic import Field

from perennial.core.frozen import Frozen


class AlarmBudget(Frozen):
    """False alarms a month (30 days) over all models."""

    alarms_a_month: float = Field(gt=0)
    models: tuple[str, ...] = Field(min_length=1)

    @property
    def share(self) -> float:
        """Return the false alarms a month of each model."""
        return self.alarms_a_month / len(self.models)
