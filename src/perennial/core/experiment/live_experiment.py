"""Live A/B tests: the period of a release with a fixed split, derived from the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydantic import AwareDatetime, Field

from perennial.core.events import Event, LedgerRow
from perennial.core.frozen import Frozen
from perennial.core.payloads import VersionFact
from perennial.core.release.phase import Phase
from perennial.core.release.status import ReleaseStatus

PHASES = frozenset(phase.event for phase in Phase if phase is not Phase.PENDING)


class Experiment(Frozen):
    """Period of a release in which the shares were fixed, so that its users are comparable."""

    model: str
    name: str = Field(description="salt of the assignment, as in the prediction log")
    release_id: str
    control: str = Field(description="version of the champion")
    treatment: str = Field(description="version of the candidate")
    weight: float = Field(gt=0, lt=100, description="intended percentage of users of the candidate")
    since: AwareDatetime
    until: AwareDatetime = Field(description="exclusive; the current time if the test is running")
    running: bool

    @property
    def shares(self) -> tuple[float, float]:
        """Return the intended percentages, the control first."""
        return 100.0 - self.weight, self.weight


class VariantFigures(Frozen):
    """Figures of a variant of a running A/B test; means over users, None without outcomes."""

    experiment: str
    version: str
    users: int
    accuracy: float | None
    reward: float | None


def latest_experiment(status: ReleaseStatus, rows: Sequence[LedgerRow], now: datetime) -> Experiment | None:
    """Return the last split of a release; None if it never split the users.

    Args:
        rows: ledger rows of this release, in order.
    """
    if status.champion is None:
        return None
    experiment: Experiment | None = None
    for row in rows:
        entry = row.entry
        if experiment is not None and experiment.running and entry.kind == Event.RELEASE_RESUMED:
            experiment = experiment.model_copy(update={"since": entry.at})
        if entry.kind not in PHASES:
            continue
        if experiment is not None and experiment.running:
            experiment = experiment.model_copy(update={"until": entry.at, "running": False})
        weight = VersionFact.read(entry).weight or 0.0
        if entry.kind == Event.RELEASE_CANARY and 0 < weight < 100:
            experiment = Experiment(
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
    return experiment
