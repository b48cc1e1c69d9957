"""Find versions of any model with MLflow's search over tags of versions and metrics and parameters of runs."""

from __future__ import annotations

import re
from collections.abc import Collection

from perennial.adapters.mlflow.connection import connect, reaching
from perennial.adapters.mlflow.records import (
    chunks,
    is_ours,
    model_aliases,
    records_of,
    runs_of,
    versions_of,
)

# After the connection's settings, which MLflow reads when it is imported.
from mlflow import MlflowClient  # isort: skip
from mlflow.entities.model_registry import ModelVersion  # isort: skip
from mlflow.exceptions import MlflowException  # isort: skip

from perennial.core.training.registration import VersionRecord
from perennial.errors import UsageError

FEW = 1000
"""Runs up to which a search names them: that many versions are a page anyway."""
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
                if not of_runs:
                    versions = versions_of(client, " and ".join(of_versions))
                else:
                    runs = {run.info.run_id for run in runs_of(client, [" and ".join(of_runs)])}
                    versions = _of_runs(client, of_versions, runs)
        except MlflowException as error:
            raise UsageError(
                f"MLflow does not understand {query!r}: {error.message}",
                hint="lifecycle = 'production' and metrics.`holdout.roc_auc` > 0.7",
            ) from error
        with reaching(self._url):
            return records_of(client, [version for version in versions if is_ours(version)])

    def aliased(
        self, models: Collection[str], aliases: Collection[str]
    ) -> dict[str, dict[str, VersionRecord | None]]:
        client = connect(self._url)
        with reaching(self._url):
            keys = {
                (model, alias): key
                for model, known in model_aliases(client).items()
                if model in models
                for alias, key in known.items()
                if alias in aliases
            }
            versions = _at_keys(client, {(model, key) for (model, _), key in keys.items()})
            ours = [version for version in versions if is_ours(version)]
            records = {(each.ref.model, each.ref.key): each for each in records_of(client, ours)}
        by_model: dict[str, dict[str, VersionRecord | None]] = {}
        for (model, alias), key in keys.items():
            by_model.setdefault(model, {})[alias] = records.get((model, key))
        return by_model

    def by_hand(self, model: str) -> list[str]:
        """Return the keys of the versions of a model that were registered in MLflow by hand, in order."""
        client = connect(self._url)
        with reaching(self._url):
            versions = versions_of(client, f"name = '{model}'")
        return [str(version.version) for version in versions if not is_ours(version)]


def _of_runs(client: MlflowClient, conditions: list[str], runs: set[str]) -> list[ModelVersion]:
    """Return the versions of runs that also meet conditions; few runs are named, instead of reading every version."""
    if len(runs) > FEW:
        versions = versions_of(client, " and ".join(conditions))
        return [version for version in versions if version.run_id in runs]
    versions = []
    for chunk in chunks(sorted(runs)):
        named = ", ".join(f"'{run_id}'" for run_id in chunk)
        versions += versions_of(client, " and ".join([*conditions, f"run_id IN ({named})"]))
    return sorted(versions, key=lambda version: (version.name, int(version.version)))


def _at_keys(client: MlflowClient, wanted: Collection[tuple[str, str]]) -> list[ModelVersion]:
    """Return the versions at (model, key), in a call for all models at the same key.

    A thousand models have few different keys among their champions.
    """
    models: dict[str, list[str]] = {}
    for model, key in sorted(wanted):
        models.setdefault(key, []).append(model)
    versions: list[ModelVersion] = []
    for key, named in models.items():
        for chunk in chunks(named):
            names = ", ".join(f"'{name}'" for name in chunk)
            versions += versions_of(client, f"name IN ({names}) and version_number = {int(key)}")
    return versions
