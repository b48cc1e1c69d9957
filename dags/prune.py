"""Retention DAG of the plant: a daily look at what nothing needs any more, which is deleted only where that is set.

The run says what goes, or would go, in the log of its task. A person may start a run by hand and choose.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable, Param, get_parsing_context

from perennial.backend_settings import LIGHT
from perennial.orchestration.command_step import PATIENCE, CommandStep
from perennial.settings import load

SETTINGS = load()
NEVER = timedelta(0)  # a fresh installation does not make up for the last scheduled time
DAG_ID, DRY_RUN = "prune", "dry_run"

# The process of a task of another DAG reads this file, too.
if get_parsing_context().dag_id in (None, DAG_ID):
    with DAG(
        DAG_ID,
        description="Served files, logs, work folders and reports that nothing needs any more",
        doc_md=__doc__,
        schedule=CronTriggerTimetable("15 3 * * *", timezone="UTC", run_immediately=NEVER),
        catchup=False,
        max_active_runs=1,
        params={
            DRY_RUN: Param(
                not SETTINGS.prune_daily, type="boolean", title="Dry run", description="delete nothing"
            )
        },
        tags=["perennial", "prune"],
    ):
        CommandStep(
            task_id="prune",
            # A parameter reaches the command by its environment only; anything but "false" deletes nothing.
            bash_command='if [ "$DRY_RUN" = false ]; then perennial prune; else perennial prune --dry-run; fi',
            append_env=True,
            env={"DRY_RUN": "{{ params.dry_run | tojson }}"},
            cwd=str(SETTINGS.project),
            queue=LIGHT,
            **PATIENCE,  # a backup that is being made
        )
