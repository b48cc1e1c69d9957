"""Find versions of any model by MLflow's own search: tags of versions, metrics and parameters of their runs."""

from __future__ import annotations

import re

from perennial.adapters.mlflow.connection import connect, reaching

# After the connection's settings, which MLflow reads when it is imported.
from mlflow import MlflowClient  # isort: skip
from mlflow.exceptions import MlflowException  # isort: skip

from perennial.adapters.mlflow.registry import SEMANTIC, MlflowRegistry
from perennial.core.training.registration import VersionRecord
from perennial.errors import UsageError

AND = re.compile(r"\s+and\s+", re.IGNORECASE)
OF_RUNS = re.compile(r"(metrics?|params?)\.")
SHORT = re.compile(r"^(lifecycle|reason|architecture|semantic_version)\b")
"""Tags that people ask for most need no `tags.` before them."""
PAGE = 1000


class MlflowSearch:
    def __init__(self, url: str) -> None:
        self._url = url

    def search(self, query: str) -> list[VersionRecord]:
        """Versions that meet every condition, oldest first within a model.

        Args:
            query: MLflow's filter syntax, conditions joined by `and`: `tags.<name>`, `name`, `run_id` of a
                version, `metrics.<name>` and `params.<name>` of its run; names with dots in backticks.

        Raises:
            UsageError: MLflow does not understand the query.
        """
        conditions = [SHORT.sub(r"tags.\1", one.strip()) for one in AND.split(query) if one.strip()]
        of_runs = [one for one in conditions if OF_RUNS.match(one)]
        of_versions = [one for one in conditions if not OF_RUNS.match(one)]
        client = connect(self._url)
        try:
            with reaching(self._url):
                found = _versions(client, " and ".join(of_versions))
                if of_runs:
                    runs = _runs(client, " and ".join(of_runs))
                    found = [one for one in found if one.run_id in runs]
        except MlflowException as error:
            raise UsageError(
                f"MLflow does not understand {query!r}: {error.message}",
                hint="lifecycle = 'production' and metrics.`holdout.roc_auc` > 0.7",
            ) from error
        registry = MlflowRegistry(self._url)
        keys = sorted((one.name, int(one.version)) for one in found if SEMANTIC in one.tags)
        records = (registry.find(model, f"key:{key}") for model, key in keys)
        return [one for one in records if one is not None]


def _versions(client: MlflowClient, query: str) -> list:
    found, token = [], None
    while True:
        page = client.search_model_versions(query or None, max_results=PAGE, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _runs(client: MlflowClient, query: str) -> set[str]:
    experiments = [one.experiment_id for one in client.search_experiments()]
    found, token = set(), None
    while True:
        page = client.search_runs(experiments, query, max_results=PAGE, page_token=token)
        found |= {run.info.run_id for run in page}
        token = page.token
        if not token:
            return found
