"""Turn of a training step among those that wait: what an alarm or a person asked for, the spec's priority, its wait."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from airflow.task.priority_strategy import PriorityWeightStrategy
from airflow.utils.types import DagRunType

if TYPE_CHECKING:
    from airflow.models.taskinstance import TaskInstance

BEFORE_TRAININGS = 1_000_000
"""Weight of the tasks of releases: each goes before any step of a training."""
ASKED = 20_000
PRIORITY = 100
"""Weight of a unit of the spec's `retraining.priority`, which is at most 100; more than steps of a training."""
DAY = 1_000
"""Weight of a day that a run has waited: as ten units of priority. So nothing waits for ever while others come."""
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class TrainingTurn(PriorityWeightStrategy):
    """Weight of a step: those of asked runs first, then those of models with priority, then the steps furthest on.

    Airflow stores a weight once. All that wait gain the same in the same time, so the date of the run stands for its
    age, and a run that begins later has less from the start.

    A run counts as asked where an event of the model's asset started it: an alarm of the monitor, or `perennial
    retrain`. Runs of the schedule and of a form in Airflow are alike; the spec says which model goes first.
    """

    def __repr__(self) -> str:
        """Return the same text in each process: another one in what Airflow stores makes a new version of a DAG."""
        return f"{type(self).__name__}()"

    def get_weight(self, ti: TaskInstance) -> int:
        """Return the weight of a task of a run."""
        task = ti.task
        assert task is not None  # noqa: S101 Airflow asks about tasks that it is about to queue
        asked = DagRunType.from_run_id(ti.run_id) is DagRunType.ASSET_TRIGGERED
        before = len(task.get_flat_relative_ids(upstream=True))
        late = round((_begin(ti.run_id) - EPOCH) / timedelta(days=1) * DAY)
        return asked * ASKED + task.priority_weight * PRIORITY + before - late


def _begin(run_id: str) -> datetime:
    """Return the time from which a run waits, which is in its id; now, for an id of a person's own."""
    text = run_id.partition("__")[2].partition("_")[0]
    try:
        begin = datetime.fromisoformat(text)
    except ValueError:
        return datetime.now(UTC)
    return begin if begin.tzinfo is not None else begin.replace(tzinfo=UTC)
