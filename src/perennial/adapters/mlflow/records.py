"""Records of versions from MLflow's searches: the number of calls grows with pages, not with versions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice

from perennial.adapters.mlflow.connection import all_pages

# After the connection's settings, which MLflow reads when it is imported.
from mlflow import MlflowClient  # isort: skip
from mlflow.entities import Run, ViewType  # isort: skip
from mlflow.entities.model_registry import ModelVersion  # isort: skip

from perennial.core.training.registration import VersionRecord
from perennial.core.version import VersionRef

SEMANTIC, DIGEST, CAPSULE = "semantic_version", "digest", "capsule"
PAGE = 1000
"""Versions, models or experiments of a call: the most that MLflow's server gives of each."""
NAMED = 200
"""Runs or models that a filter names: MLflow's parser refuses a filter of some thousand words."""


def is_ours(version: ModelVersion) -> bool:
    """Return whether a registration has made it; anyone may add versions in MLflow."""
    return {SEMANTIC, DIGEST, CAPSULE} <= version.tags.keys()


def version_ref(version: ModelVersion) -> VersionRef:
    return VersionRef(
        model=version.name,
        version=version.tags[SEMANTIC],
        key=str(version.version),
        digest=version.tags[DIGEST],
        capsule=version.tags[CAPSULE],
    )


def version_record(
    version: ModelVersion, aliases: Iterable[str], metrics: Mapping[str, float]
) -> VersionRecord:
    return VersionRecord(
        ref=version_ref(version),
        run_id=version.run_id,
        created=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC),
        aliases=tuple(sorted(aliases)),
        tags=dict(version.tags),
        metrics=dict(metrics),
    )


def versions_of(client: MlflowClient, query: str) -> list[ModelVersion]:
    """Return the versions that meet a filter, without their aliases, in order of model and key."""
    versions = all_pages(
        lambda token: client.search_model_versions(query or None, max_results=PAGE, page_token=token)
    )
    return sorted(versions, key=lambda version: (version.name, int(version.version)))


def records_of(client: MlflowClient, versions: Sequence[ModelVersion]) -> list[VersionRecord]:
    """Return the records of versions that a search gave, in their order."""
    metrics = _metrics(client, [version.run_id for version in versions])
    names: dict[tuple[str, str], list[str]] = {}
    models = {version.name for version in versions}
    known = _aliases_of_one(client, models.pop()) if len(models) == 1 else model_aliases(client)
    for model, aliases in known.items():
        for alias, key in aliases.items():
            names.setdefault((model, key), []).append(alias)
    return [
        version_record(
            version,
            names.get((version.name, str(version.version)), ()),
            metrics.get(version.run_id, {}),
        )
        for version in versions
    ]


def model_aliases(client: MlflowClient) -> dict[str, dict[str, str]]:
    """Return model -> alias -> key, of all models: a search for versions omits the aliases."""
    models = all_pages(lambda token: client.search_registered_models(max_results=PAGE, page_token=token))
    return {model.name: {alias: str(key) for alias, key in model.aliases.items()} for model in models}


def runs_of(client: MlflowClient, queries: Iterable[str]) -> list[Run]:
    """Return the runs of all experiments that meet a filter, for each filter; deleted ones too."""
    experiments = all_pages(
        lambda token: client.search_experiments(ViewType.ALL, max_results=PAGE, page_token=token)
    )
    ids = [experiment.experiment_id for experiment in experiments]
    return [run for query in queries for run in _runs(client, ids, query)]


def _runs(client: MlflowClient, experiments: list[str], query: str) -> list[Run]:
    return all_pages(
        lambda token: client.search_runs(
            experiments, query, run_view_type=ViewType.ALL, max_results=PAGE, page_token=token
        )
    )


def _aliases_of_one(client: MlflowClient, model: str) -> dict[str, dict[str, str]]:
    return {model: {alias: str(key) for alias, key in client.get_registered_model(model).aliases.items()}}


def _metrics(client: MlflowClient, run_ids: Iterable[str]) -> dict[str, dict[str, float]]:
    """Return run -> metrics; a run that was deleted for good is missing."""
    wanted = sorted({run_id for run_id in run_ids if run_id})
    if not wanted:
        return {}
    lists = (", ".join(f"'{run_id}'" for run_id in chunk) for chunk in chunks(wanted))
    runs = runs_of(client, (f"attributes.run_id IN ({named})" for named in lists))
    return {run.info.run_id: dict(run.data.metrics) for run in runs}


def chunks(names: Sequence[str]) -> Iterator[list[str]]:
    """Yield the names in lists that a filter may hold."""
    rest = iter(names)
    while chunk := list(islice(rest, NAMED)):
        yield chunk
