"""Figures of a candidate beside today's champion, where the registered ones are beside another version."""

from __future__ import annotations

from pydantic import AwareDatetime, Field

from perennial.core.frozen import Frozen


class Afresh(Frozen):
    """Evaluation of candidate and champion on labelled requests since both trainings."""

    since: AwareDatetime
    labels: int = Field(ge=0, description="labelled answers that both have answered again")
    needed: int = Field(ge=0)
    metrics: dict[str, float] | None = Field(
        None, description="by the names that the gate reads; None: too few labels"
    )
    note: str = Field("", description="why there are no figures in spite of enough labels")

    def __str__(self) -> str:
        if self.metrics is not None:
            return f"evaluated afresh on {self.labels} labelled answers since {self.since:%Y-%m-%d %H:%M} UTC"
        why = self.note or f"{self.needed} are needed"
        return f"no figures afresh: {self.labels} labelled answers since both trainings, {why}"
