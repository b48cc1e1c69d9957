"""Kinds of task: what a model predicts, and everything that follows from it.

A kind says which targets and answers are valid, how they are measured, what a decision and a label are. The rest
of the system asks the kind (`spec.task`, `manifest.task`) and never its name.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, TypeAdapter

from perennial.core.tasks.binary import Binary
from perennial.core.tasks.forecast import Forecast
from perennial.core.tasks.multiclass import Multiclass
from perennial.core.tasks.ranking import Ranking
from perennial.core.tasks.regression import Regression
from perennial.core.tasks.task import Scored, Task
from perennial.core.tasks.values import Metric

AnyTask = Annotated[Binary | Ranking | Multiclass | Regression | Forecast, Field(discriminator="kind")]
TASK: TypeAdapter[Binary | Ranking | Multiclass | Regression | Forecast] = TypeAdapter(AnyTask)
"""Reads a task from JSON, for example from a line of the prediction log."""

__all__ = [
    "TASK",
    "AnyTask",
    "Binary",
    "Forecast",
    "Metric",
    "Multiclass",
    "Ranking",
    "Regression",
    "Scored",
    "Task",
]
