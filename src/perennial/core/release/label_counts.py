"""Counts of the labels of a version in a step: all together, within each truth, and by group of requests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, Field

from perennial.core.frozen import Frozen

Bucket = tuple[float, float, float, float]
"""Sums over the groups of a bucket: labelled requests, wrong answers, requests with a loss, their losses."""


TIME = "time"
"""Way of grouping by slices of time; the buckets of all others are parts of the groups by a hash."""


class TruthCounts(Frozen):
    """Labelled requests of one truth, such as the failing tests; a request with several rows counts in parts."""

    requests: float = Field(0.0, ge=0, description="labelled requests with this truth")
    wrong: float = Field(0.0, ge=0, description="of these: answered wrong")
    answers: dict[str, float] = Field(default_factory=dict, description="of these: by answer")
    losses: float = Field(0.0, ge=0, description="requests with a loss, where the kind of task has one")
    loss: float = Field(0.0, ge=0, description="sum over these of the mean loss of the rows with this truth")
    squares: float = Field(0.0, ge=0, description="sum of the squares of the same")
    groups: dict[str, tuple[Bucket, ...]] = Field(
        default_factory=dict,
        description="way of grouping -> a bucket per slice of time or per part of the groups, in the same order for "
        "every truth and version",
    )


class LabelCounts(Frozen):
    """Counts of one version's predictions whose labels came back, of requests old enough to have one."""

    right: float = Field(0.0, ge=0, description="sum over requests of the share of right answers")
    requests: int = Field(0, ge=0)
    labels: int = Field(0, ge=0)
    loss: float = Field(0.0, ge=0, description="sum over requests of the mean loss of its answers")
    squares: float = Field(0.0, ge=0, description="sum of the squares of the same")
    has_loss: bool = Field(False, description="the kind of task has a loss (`Task.losses`)")
    sources: dict[str, int] = Field(default_factory=dict, description="source -> its labels that count")
    without: dict[str, LabelCounts] = Field(
        default_factory=dict, description="source that may not decide alone -> the counts without it"
    )
    maturity_hours: float | None = Field(
        None, ge=0, description="age from which a request counts; None: how late labels come is not known"
    )
    young: int = Field(0, ge=0, description="requests that are not old enough")
    unlabelled: int = Field(
        0,
        ge=0,
        exclude_if=lambda count: not count,
        description="requests, left out, of entities, users or clients of which hardly a label comes",
    )
    answered: float = Field(0.0, ge=0, description="requests old enough, labelled or not")
    answers: dict[str, float] = Field(default_factory=dict, description="of these: by answer")
    truths: dict[str, TruthCounts] = Field(default_factory=dict, description="truth -> its labelled requests")


class LabelledStep(Frozen):
    """Labels of an earlier step of a release; late ones still come."""

    began: AwareDatetime
    ended: AwareDatetime
    labels: dict[str, LabelCounts] = Field(default_factory=dict, description="digest -> labels in that step")


EarlierSteps = Annotated[
    tuple[LabelledStep, ...],
    Field(
        exclude_if=lambda steps: not steps, description="the earlier steps in which both versions answered"
    ),
]
"""Labels of the earlier steps, in order; left out of what is stored where there are none."""


def without_overlap(steps: Sequence[LabelledStep], until: datetime) -> tuple[LabelledStep, ...]:
    """Return the steps before a time so that no hour is in two: a clock that was set back may have repeated some.

    Args:
        steps: in order.
    """
    kept = []
    for step in reversed(steps):
        if step.began < until:
            kept.append(step.model_copy(update={"ended": min(step.ended, until)}))
            until = step.began
    return tuple(reversed(kept))
