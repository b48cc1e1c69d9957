"""Division of the false alarms and false drift warnings that a plant accepts over its models.

Each model's detector accrues its share with time (`harm_evidence`), so the expected false alarms of all models together
are at most the budget, however the models depend on each other: expectations add up. This is the e-detector form of
Bonferroni's division (Dandapanthula and Ramdas, "Multiple testing in multi-stream sequential change detection", 2025).
Equal shares: a model with half the share needs only log(2) more evidence, so weights would change little.

Warnings of drift are tests of single windows, which overlap: the next look judges nearly the same rows, at a time that
the rows themselves may have chosen (`screen`). So each instant at which a look may be made counts as a test, and each
gets the same part of the model's share (Bonferroni; Dunn 1961, "Multiple comparisons among means"): the expected number
of false warnings is at most the sum of the levels, however windows, columns and models depend on each other.
"""

from __future__ import annotations

from pydantic import Field

from perennial.core.frozen import Frozen
from perennial.core.monitoring.harm_detector import MONTH
from perennial.core.monitoring.screen import SCREENED

INSTANTS = MONTH.total_seconds() / SCREENED
"""Times in a month at which a look at a model may be made."""
FAMILIES = 2
"""Groups of tests in a look that may warn: moved columns, newly missing values."""


class AlarmBudget(Frozen):
    """False alarms, and false warnings of drift, a month (30 days) over all models."""

    alarms_a_month: float = Field(gt=0)
    drift_warnings_a_month: float = Field(gt=0)
    models: tuple[str, ...] = Field(description="none in a plant without a model; then nothing has a share")

    @property
    def share(self) -> float:
        """Return the false alarms a month of each model."""
        return self.alarms_a_month / len(self.models)

    @property
    def drift_share(self) -> float:
        """Return the false drift warnings a month of each model."""
        return self.drift_warnings_a_month / len(self.models)

    @property
    def warn_level(self) -> float:
        """Return the chance with which each group of tests in a look may warn of a drift that is none, below 1."""
        return min(self.drift_share / (INSTANTS * FAMILIES), 0.5)
