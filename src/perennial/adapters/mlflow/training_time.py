"""How long MLflow's runs of a model took, and where its artifacts are."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from perennial.adapters.mlflow.connection import all_pages, connect, reaching

# After the connection's settings, which MLflow reads when it is imported.
from mlflow.entities import ViewType  # isort: skip

PARENT = "mlflow.parentRunId"
PAGE = 1000


class TrainingTime(NamedTuple):
    """The experiment of a model: hours of its runs, and its artifacts."""

    hours: float
    artifacts: str | None
    """Address of its artifacts; None: it has no experiment yet."""


def training_time(url: str, model: str, since: datetime, until: datetime) -> TrainingTime:
    """Return the hours of the runs of a model within a period, also of deleted runs; a run that goes on counts, too.

    A run within another, as a trial, is part of that one's time. A run without an end counts up to the begin of the
    next one: a model has one training at a time, so it was killed by then.
    """
    client = connect(url)
    start, end = (int(moment.timestamp() * 1000) for moment in (since, until))
    with reaching(url):
        experiment = client.get_experiment_by_name(model)
        if experiment is None:
            return TrainingTime(0.0, None)
        query = f"attributes.start_time < {end}"
        runs = all_pages(
            lambda token: client.search_runs(
                [experiment.experiment_id],
                query,
                run_view_type=ViewType.ALL,
                max_results=PAGE,
                page_token=token,
            )
        )
    whole = sorted(
        (run.info for run in runs if PARENT not in run.data.tags), key=lambda info: info.start_time
    )
    nexts = [*(info.start_time for info in whole[1:]), end]
    spans = [
        (max(info.start_time, start), min(info.end_time or following, end))
        for info, following in zip(whole, nexts[: len(whole)], strict=True)
    ]
    hours = sum(max(0, last - first) for first, last in spans) / 3_600_000
    return TrainingTime(hours, experiment.artifact_location)
