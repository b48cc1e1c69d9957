"""Plugin by which Airflow's scheduler knows the turn of training steps, and its API server the turn of writers."""

from __future__ import annotations

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

from perennial.orchestration.one_writer import OneWriter
from perennial.orchestration.training_turn import TrainingTurn

IS_ONE_FILE = conf.get("database", "sql_alchemy_conn").startswith("sqlite")


class PerennialPlugin(AirflowPlugin):
    """Names what the DAGs of trainings use in the scheduler, and what stands before the API server."""

    name = "perennial"
    priority_weight_strategies = [TrainingTurn]  # noqa: RUF012 as Airflow reads it
    fastapi_root_middlewares = [{"middleware": OneWriter, "name": "one writer"}] if IS_ONE_FILE else []
