"""Tasks of logged predictions, also of those from before kinds of task existed."""

from __future__ import annotations

from functools import cache

from perennial.core.tasks import TASK, Ranking, Task

BEFORE_KINDS = Ranking(threshold=0.5)
"""Task of a logged prediction without one. Its decision is in the log, so the threshold is not used."""


@cache
def logged_task(text: str) -> Task:
    """Return the task of a logged prediction from its JSON; empty for a prediction from before."""
    return TASK.validate_json(text) if text else BEFORE_KINDS
