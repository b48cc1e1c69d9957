"""Ten thousand registered versions: list, show, search, and `why` over a ledger that has the release of each."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from perennial.adapters.mlflow.connection import connect
from perennial.adapters.mlflow.registry import MlflowRegistry
from perennial.adapters.mlflow.search import MlflowSearch
from perennial.adapters.sql.ledger import append_entry
from perennial.adapters.sql.store import SqlStore
from perennial.core.events import Entry, Event
from perennial.flows.governance.why import why
from scale_parts.figures import Figure, repeated, timed

MODELS = 10
START = datetime(2026, 1, 1, tzinfo=UTC)
STORY = (
    Event.RELEASE_OPENED, Event.RELEASE_GATED, Event.RELEASE_AWAITING_APPROVAL, Event.RELEASE_APPROVED,
    Event.RELEASE_LOADING, Event.RELEASE_SHADOW, Event.RELEASE_CANARY, Event.RELEASE_PROMOTING,
    Event.RELEASE_SUCCEEDED,
)  # fmt: skip


def figures(folder: Path, versions: int) -> Iterator[Figure]:
    url = f"sqlite:///{folder}/mlflow.db"
    names = [f"model_{number}" for number in range(MODELS)]
    _register(url, names, versions // MODELS, folder)
    for model in (names[0],):
        yield timed(
            f"versions of a model with {versions // MODELS:,}",
            lambda model=model: MlflowRegistry(url).versions(model),
            lambda found: f"{len(found):,} versions",
        )
    yield timed(
        "search over all, every tenth meets it",
        lambda: MlflowSearch(url).search("lifecycle = 'production'"),
        lambda found: f"{len(found):,} versions",
    )
    yield timed(
        "search over all by a metric",
        lambda: MlflowSearch(url).search("metrics.`holdout.roc_auc` > 0.99"),
        lambda found: f"{len(found):,} versions",
    )
    yield timed(
        f"champion and candidate of {MODELS} models",
        lambda: MlflowSearch(url).aliased(names, ("champion", "candidate")),
    )
    registry = MlflowRegistry(url)
    random = np.random.default_rng(0)
    registry.find(names[0], "candidate")
    wanted = [f"1.{number}.0" for number in random.integers(0, versions // MODELS, 50)]
    yield repeated(
        "find one by its number, p50 / p99",
        [lambda version=version: registry.find(names[1], version) for version in wanted],
    )
    store = SqlStore(f"sqlite:///{folder}/perennial.db")
    entries = _tell(store, names, versions // MODELS)
    times = [START + timedelta(minutes=float(at)) for at in random.uniform(1, versions // MODELS, 200)]
    yield repeated(
        "`why` at some time, p50 / p99",
        [lambda at=at: why(names[2], store.ledger, at, 5) for at in times],
        f"{entries:,} entries",
    )


def _register(url: str, names: list[str], each: int, folder: Path) -> None:
    """Fill MLflow's tables: by its client this takes an hour."""
    client = connect(url)
    experiment = client.create_experiment("scale", artifact_location=str(folder))
    for name in names:
        client.create_registered_model(name)
    runs, metrics, versions, tags = [], [], [], []
    for place, name in enumerate(names):
        for number in range(each):
            run, at = f"{place:08x}{number:024x}", 1_780_000_000_000 + number * 1000
            runs.append(
                (
                    run,
                    f"run-{number}",
                    "UNKNOWN",
                    "bench",
                    "FINISHED",
                    at,
                    at,
                    "active",
                    str(folder),
                    experiment,
                )
            )
            metrics.append(("holdout.roc_auc", number / each, at, 0, 0, run))
            versions.append((name, number + 1, at, at, "None", str(folder), run, "READY"))
            lifecycle = "production" if number % 10 == 9 else "archived"
            told = {
                "semantic_version": f"1.{number}.0",
                "digest": run * 2,
                "capsule": "c",
                "lifecycle": lifecycle,
            }
            tags += [(key, value, name, number + 1) for key, value in told.items()]
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database, database:
        _insert(database, "runs", "run_uuid, name, source_type, user_id, status, start_time, end_time, "
                "lifecycle_stage, artifact_uri, experiment_id", runs)  # fmt: skip
        _insert(database, "latest_metrics", "key, value, timestamp, step, is_nan, run_uuid", metrics)
        _insert(database, "model_versions", "name, version, creation_time, last_updated_time, current_stage, "
                "source, run_id, status", versions)  # fmt: skip
        _insert(database, "model_version_tags", "key, value, name, version", tags)
    for name in names:
        client.set_registered_model_alias(name, "champion", str(each - 1))
        client.set_registered_model_alias(name, "candidate", str(each))


def _insert(database: sqlite3.Connection, table: str, columns: str, rows: list[tuple]) -> None:
    places = ", ".join("?" * len(rows[0]))
    database.executemany(f"INSERT INTO {table} ({columns}) VALUES ({places})", rows)  # noqa: S608 constants


def _tell(store: SqlStore, names: list[str], each: int) -> int:
    """Append the release of every version, in turn; return how many entries there are."""
    store.ledger.end()
    with store.releases._database.writing() as connection:
        for number in range(each):
            for name in names:
                for step, kind in enumerate(STORY):
                    append_entry(
                        connection,
                        Entry(
                            at=START + timedelta(minutes=number, seconds=step),
                            actor="ann" if kind is Event.RELEASE_APPROVED else "machine",
                            kind=kind,
                            model=name,
                            release_id=f"{name}-{number}",
                            digest=f"{number:064x}",
                            payload={
                                "version": f"1.{number}.0", "capsule": "c", "note": "", "channel": "cli",
                                "to": f"1.{number}.0", "from": f"1.{max(0, number - 1)}.0",
                            },
                        ),
                    )  # fmt: skip
    return each * len(names) * len(STORY)
