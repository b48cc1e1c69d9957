"""Housekeeping DAG of each model spec: publish the newest features, seal the log, remove old work folders."""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, CronTriggerTimetable

from perennial import catalog
from perennial.backend_settings import LIGHT, TRAINING
from perennial.local.training_runner import CLEAR_WORK, KEEP_DAYS
from perennial.orchestration.parsed_models import parsed_models
from perennial.settings import load

SETTINGS = load()
NEVER = timedelta(0)  # a fresh installation does not make up for the last scheduled time
UPLOAD = [] if SETTINGS.log_bucket is None else [("upload_predictions", "predictions upload")]
ASKS = SETTINGS.training_socket is not None  # the work folders are those of another account

for spec in catalog.specs(SETTINGS, parsed_models(SETTINGS)):
    with DAG(
        f"maintain_{spec.name}",
        description=f"Features and files of {spec.name}",
        doc_md=__doc__,
        schedule=CronTriggerTimetable("0 * * * *", timezone="UTC", run_immediately=NEVER),
        catchup=False,
        max_active_runs=1,
        tags=["perennial", "maintain", spec.owner],
    ) as dag:
        tasks = {}
        for task, command in (
            ("publish_features", "features publish"),
            ("seal_predictions", "predictions seal"),
            *UPLOAD,
        ):
            tasks[task] = BashOperator(
                task_id=task,
                bash_command=f"perennial {command} {spec.name}",
                append_env=True,
                env={},
                cwd=str(SETTINGS.project),
                queue=LIGHT,
            )
        if UPLOAD:
            # A day is uploaded when it is merged.
            tasks["seal_predictions"] >> tasks["upload_predictions"]
        BashOperator(
            task_id="clear_work",
            bash_command=f'perennial training ask clear_work {spec.name} --workdir "$WORK"'
            if ASKS
            else CLEAR_WORK,
            append_env=True,
            env={"WORK": str(SETTINGS.state / "work" / spec.name), "DAYS": str(KEEP_DAYS)},
            cwd=str(SETTINGS.project),
            queue=TRAINING,  # where the work folders are
        )
    globals()[dag.dag_id] = dag
