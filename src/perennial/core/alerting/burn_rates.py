"""Windows and burn rates of the alerts on service level objectives. Pure.

A burn rate of 1 uses the error budget (1 - objective) up in exactly the period. An alert fires where both windows burn
faster than its rate: the long one says that it matters, the short one that it still goes on, which ends the alert soon
after the trouble. Windows and rates are those of Google's SRE Workbook, chapter 5 "Alerting on SLOs", table 5-8:
https://sre.google/workbook/alerting-on-slos/
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

PERIOD = timedelta(days=30)


@dataclass(frozen=True)
class BurnRate:
    """An alert condition.

    Attributes:
        budget: share of the budget of a period that is gone when the alert fires.
        pages: whether somebody has to look now.
    """

    budget: float
    long: timedelta
    short: timedelta
    pages: bool

    @property
    def rate(self) -> float:
        """Return the factor by which the budget is used too fast."""
        return self.budget * (PERIOD / self.long)


BURN_RATES = (
    BurnRate(0.02, timedelta(hours=1), timedelta(minutes=5), pages=True),
    BurnRate(0.05, timedelta(hours=6), timedelta(minutes=30), pages=True),
    BurnRate(0.10, timedelta(days=3), timedelta(hours=6), pages=False),
)
WINDOWS = tuple(sorted({window for burn in BURN_RATES for window in (burn.long, burn.short)}))
FEWEST_BAD = 3
"""Bad requests that the long window must hold: at night a single one would burn the budget of hours."""
