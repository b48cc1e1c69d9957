"""A live A/B test: which release it belongs to and when, and whether its users got their sides."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydantic import AwareDatetime, Field

from perennial.core.events import Event, LedgerRow
from perennial.core.payloads import VersionFact
from perennial.core.release.phase import Phase
from perennial.core.release.status import ReleaseStatus
from perennial.core.spec import Frozen

PHASES = frozenset(phase.event for phase in Phase if phase is not Phase.PENDING)


class Experiment(Frozen):
    """One stretch of a release in which the shares were fixed: what is comparable within it."""

    model: str
    name: str = Field(description="the salt of the assignment, as the prediction log has it")
    release_id: str
    control: str = Field(description="version of the champion")
    treatment: str = Field(description="version of the candidate")
    weight: float = Field(gt=0, lt=100, description="percent of the users that the candidate was to get")
    since: AwareDatetime
    until: AwareDatetime = Field(description="exclusive; of a running one, when it was looked at")
    running: bool

    @property
    def shares(self) -> tuple[float, float]:
        """Control first."""
        return 100.0 - self.weight, self.weight


class VariantFigures(Frozen):
    """One arm of a running experiment, as the monitor shows it; means over users, None: nothing known yet."""

    experiment: str
    version: str
    users: int
    accuracy: float | None
    reward: float | None


def latest_experiment(status: ReleaseStatus, rows: Sequence[LedgerRow], now: datetime) -> Experiment | None:
    """The last split of a release; None: it never split the users.

    Args:
        rows: of the ledger, about this release, in order.
    """
    if status.champion is None:
        return None
    found: Experiment | None = None
    for row in rows:
        entry = row.entry
        if (
            found is not None and found.running and entry.kind == Event.RELEASE_RESUMED
        ):  # the step starts again
            found = found.model_copy(update={"since": entry.at})
        if entry.kind not in PHASES:
            continue
        if found is not None and found.running:
            found = found.model_copy(update={"until": entry.at, "running": False})
        weight = VersionFact.read(entry).weight or 0.0
        if entry.kind == Event.RELEASE_CANARY and 0 < weight < 100:
            found = Experiment(
                model=status.model,
                name=status.assignment.experiment,
                release_id=status.release_id,
                control=status.champion.version,
                treatment=status.candidate.version,
                weight=weight,
                since=entry.at,
                until=now,
                running=True,
            )
    return found
