"""Monitoring DAG of each model spec: a window of predictions against the champion's reference.

The monitor process does this continuously; the DAG keeps a record per run in Airflow and lets a person
start a run by hand. A verdict "retrain" raises the retraining asset, which starts the training DAG.
Beside it, a task checks and profiles the rows of the day before; others measure the effect of the last release, once
its period is over, and request a training where the spec says how many new labels are enough.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, CronTriggerTimetable

from perennial import catalog
from perennial.backend_settings import LIGHT
from perennial.orchestration.parsed_models import parsed_models
from perennial.settings import load

SETTINGS = load()
NEVER = timedelta(0)  # a fresh installation does not make up for the last scheduled time

for spec in catalog.specs(SETTINGS, parsed_models(SETTINGS)):
    with DAG(
        f"monitor_{spec.name}",
        description=f"Drift and accuracy of {spec.name}, once a day",
        doc_md=__doc__,
        schedule=CronTriggerTimetable("30 5 * * *", timezone="UTC", run_immediately=NEVER),
        catchup=False,
        max_active_runs=1,
        tags=["perennial", "monitor", spec.owner],
    ) as dag:
        steps = {
            "check": f"monitor check {spec.name}",
            "window": f"monitor run {spec.name}",
            "effect": f"retrain effect {spec.name} --due",
        }
        if spec.retraining.enough_labels is not None and spec.entrypoint is not None:
            steps["labels"] = f"retrain labels {spec.name}"
        for task, command in steps.items():
            BashOperator(
                task_id=task,
                bash_command=f"perennial {command}",
                append_env=True,
                env={},
                cwd=str(SETTINGS.project),
                queue=LIGHT,
            )
    globals()[dag.dag_id] = dag
