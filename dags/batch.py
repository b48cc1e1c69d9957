"""Batch DAG of each model whose caller sends the inputs: answers for the rows of a file.

A person or another DAG triggers it with the parameters IN (CSV or Parquet file, or a folder of Parquet) and OUT
(.parquet or .csv), paths on the machine of Airflow's workers. A killed task goes on where it was when it runs again.
"""

from __future__ import annotations

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Param

from perennial import catalog
from perennial.backend_settings import LIGHT
from perennial.orchestration.parsed_models import parsed_models
from perennial.settings import load

SETTINGS = load()

for spec in catalog.specs(SETTINGS, parsed_models(SETTINGS)):
    if spec.features.source != "request" or spec.task.windows is not None:
        continue
    with DAG(
        f"batch_{spec.name}",
        description=f"Answers of the champion of {spec.name} for the rows of a file",
        doc_md=__doc__,
        schedule=None,
        catchup=False,
        max_active_runs=4,
        params={
            "IN": Param(
                "", type="string", minLength=1, description="CSV or Parquet file, or a folder of Parquet"
            ),
            "OUT": Param(
                "", type="string", pattern=r"\.(parquet|csv)$", description="file that is not there yet"
            ),
        },
        tags=["perennial", "batch", spec.owner],
    ) as dag:
        BashOperator(
            task_id="score",
            bash_command=f'perennial batch --json -- {spec.name} "$IN" "$OUT"',
            append_env=True,
            env={"IN": "{{ params.IN }}", "OUT": "{{ params.OUT }}"},
            retries=2,
            cwd=str(SETTINGS.project),
            queue=LIGHT,
        )
    globals()[dag.dag_id] = dag
