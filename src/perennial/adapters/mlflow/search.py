"""Find versions of any model with MLflow's search over tags of versions and metrics and parameters of runs."""

from __future__ import annotations

import re

from perennial.adapters.mlflow.connection import all_pages, connect, reaching

# After the connection's settings, which MLflow reads when it is imported.
from mlflow import MlflowClient  # isort: skip
from mlflow.entities.model_registry import ModelVersion  # isort: skip
from mlflow.exceptions import MlflowException  # isort: skip

from perennial.adapters.mlflow.registry import PAGE, MlflowRegistry, is_ours
from perennial.core.training.registration import VersionRecord
from perennial.errors import UsageError

AND = re.compile(r"\s+and\s+", re.IGNORECASE)
OF_RUNS = re.compile(r"(metrics?|params?)\.")
SHORT = re.compile(r"^(lifecycle|reason|architecture|semantic_version)\b")
"""Tags that need no `tags.` prefix."""


class MlflowSearch:
    """Search over the versions of all models."""

    def __init__(self, url: str) -> None:
        self._url = url

    def search(self, query: str) -> list[VersionRecord]:
        """Return the versions that meet every condition, oldest first within a model.

        Args:
            query: MLflow's filter syntax, conditions joined by `and`: `tags.<name>`, `name`, `run_id` of a
                version, `metrics.<name>` and `params.<name>` of its run; names with dots in backticks.

        Raises:
            UsageError: MLflow does not understand the query.
        """
        conditions = [SHORT.sub(r"tags.\1", part.strip()) for part in AND.split(query) if part.strip()]
        of_runs = [condition for condition in conditions if OF_RUNS.match(condition)]
        of_versions = [condition for condition in conditions if not OF_RUNS.match(condition)]
        client = connect(self._url)
        try:
            with reaching(self._url):
                versions = _versions(client, " and ".join(of_versions))
                if of_runs:
                    runs = _runs(client, " and ".join(of_runs))
                    versions = [version for version in versions if version.run_id in runs]
        except MlflowException as error:
            raise UsageError(
                f"MLflow does not understand {query!r}: {error.message}",
                hint="lifecycle = 'production' and metrics.`holdout.roc_auc` > 0.7",
            ) from error
        registry = MlflowRegistry(self._url)
        keys = sorted((version.name, int(version.version)) for version in versions if is_ours(version))
        records = (registry.find(model, f"key:{key}") for model, key in keys)
        return [record for record in records if record is not None]

    def by_hand(self, model: str) -> list[str]:
        """Return the keys of the versions of a model that were registered in MLflow by hand, in order."""
        client = connect(self._url)
        with reaching(self._url):
            versions = _versions(client, f"name = '{model}'")
        return sorted((str(version.version) for version in versions if not is_ours(version)), key=int)


def _versions(client: MlflowClient, query: str) -> list[ModelVersion]:
    return all_pages(
        lambda token: client.search_model_versions(query or None, max_results=PAGE, page_token=token)
    )


def _runs(client: MlflowClient, query: str) -> set[str]:
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = all_pages(lambda token: client.search_runs(experiments, query, max_results=PAGE, page_token=token))
    return {run.info.run_id for run in runs}
