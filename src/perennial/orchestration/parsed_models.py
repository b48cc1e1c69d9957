"""Models whose DAGs a process has to build: all of them, or the one whose task it runs."""

from __future__ import annotations

from airflow.sdk import get_parsing_context

from perennial import catalog
from perennial.settings import Settings


def parsed_models(settings: Settings) -> list[str]:
    """Return the names of the models whose DAGs are asked for.

    Each task runs in a process that reads its DAG file again. If that built the DAGs of all models, a task of one in a
    thousand would cost the reading of a thousand specs.
    """
    names = catalog.names(settings)
    dag = get_parsing_context().dag_id
    if dag is None:
        return names
    _, _, model = dag.partition("_")  # train_<model>, release_<model>, ...
    return [name for name in names if name == model]
