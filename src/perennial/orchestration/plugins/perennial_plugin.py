"""Plugin by which Airflow's scheduler knows the turn of training steps."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from perennial.orchestration.training_turn import TrainingTurn


class PerennialPlugin(AirflowPlugin):
    """Names what the DAGs of trainings use in the scheduler."""

    name = "perennial"
    priority_weight_strategies = [TrainingTurn]  # noqa: RUF012 as Airflow reads it
