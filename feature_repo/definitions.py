"""Feast definitions: entities, feature views over Parquet files, request features, a service per model.

`definitions` builds them from a folder and the model specs; the global names at the end of this file are for the
`feast` command line.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from feast import Entity, FeatureService, FeatureView, Field, FileSource, RequestSource
from feast.on_demand_feature_view import OnDemandFeatureView, on_demand_feature_view
from feast.types import Float64, Int64, String, UnixTimestamp
from feast.value_type import ValueType

from perennial.core.spec import ModelSpec
from perennial.errors import SpecError

LOG = logging.getLogger(__name__)

TEST_FEATURES = (
    "execution_time_ms",
    "pass_rate_7d",
    "pass_rate_30d",
    "failure_rate",
    "failure_count",
    "run_count",
    "recent_failures",
    "last_execution_status",
    "runs_since_failure",
    "avg_retry_count",
    "flakiness_score",
    "last_run_at",
)
SUITE_FEATURES = ("suite_failure_rate_last", "suite_failure_rate_7d", "suite_cycle_size")


def definitions(folder: Path, specs: Iterable[ModelSpec]) -> list[Any]:
    """Return every Feast object.

    Args:
        folder: has a `<view>.parquet` per feature view, with the columns entity key, event_timestamp,
            created_timestamp and the features (float64); it need not exist yet.
        specs: each gives a FeatureService with the name of the spec and its columns in order inside
            each view.
    A spec that names a view or a feature that is not defined here gets no service; the log names it.
    """
    test = Entity(name="test_id", join_keys=["test_id"], value_type=ValueType.STRING)
    suite = Entity(name="suite", join_keys=["suite"], value_type=ValueType.STRING)
    views = [
        _view(
            "test_execution_features", test, TEST_FEATURES, folder, "values of a test after its last cycle"
        ),
        _view(
            "agent_context_features", suite, SUITE_FEATURES, folder, "values of a suite after its last cycles"
        ),
    ]
    on_demand = _request_features(views[0])
    by_name = {view.name: view for view in [*views, on_demand]}
    services = []
    for spec in specs:
        if spec.features.source != "store":
            continue
        try:
            services.append(_service(spec, by_name))
        except SpecError as error:  # it stops its own model: that has no service, and its training fails
            LOG.error("%s (%s)", error.message, error.hint)
    return [test, suite, *views, on_demand, *services]


def _view(
    name: str, entity: Entity, features: tuple[str, ...], folder: Path, description: str
) -> FeatureView:
    source = FileSource(
        name=f"{name}_file",
        path=str(folder / f"{name}.parquet"),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    )
    # No ttl: the last known state of a test stays valid when it has not run for months, and an expired
    # value would look like an unknown value.
    return FeatureView(
        name=name,
        entities=[entity],
        # With the key: without it Feast must read the file to learn the join key.
        schema=[
            Field(name=entity.join_key, dtype=String),
            *(Field(name=feature, dtype=Float64) for feature in features),
        ],
        source=source,
        ttl=None,
        description=description,
    )


def _request_features(test_view: FeatureView) -> OnDemandFeatureView:
    request = RequestSource(
        name="scheduled",
        schema=[Field(name="requested_at", dtype=UnixTimestamp), Field(name="cycle_size", dtype=Int64)],
    )

    @on_demand_feature_view(
        sources=[test_view[["last_run_at"]], request],
        schema=[
            Field(name="hours_since_last_run", dtype=Float64),
            Field(name="cycle_size", dtype=Float64),
            Field(name="weekday", dtype=Float64),
        ],
        mode="python",
        description="what the moment of a prediction adds; weekday 0 is Monday, in UTC",
    )
    def request_features(inputs):
        # Feast stores the source of this function and runs it elsewhere: it must stand alone.
        import math
        from datetime import UTC, datetime

        output = {"hours_since_last_run": [], "cycle_size": [], "weekday": []}
        rows = zip(inputs["requested_at"], inputs["last_run_at"], inputs["cycle_size"], strict=True)
        for requested_at, last_run_at, cycle_size in rows:
            moment = requested_at
            if not isinstance(moment, datetime):
                moment = datetime.fromtimestamp(moment, tz=UTC)
            elif moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            known = math.nan if last_run_at is None else float(last_run_at)
            output["hours_since_last_run"].append((moment.timestamp() - known) / 3600.0)
            output["cycle_size"].append(float(cycle_size))
            output["weekday"].append(float(moment.astimezone(UTC).weekday()))
        return output

    return request_features


def _service(spec: ModelSpec, views: dict[str, Any]) -> FeatureService:
    wanted: dict[str, list[str]] = {}
    for column in spec.features.columns:
        view, feature = column.split(":", 1)
        if view not in views or feature not in {field.name for field in views[view].features}:
            raise SpecError(
                f"{spec.name}: no feature {column!r} is defined",
                hint=f"views: {', '.join(views)}; define it in feature_repo/definitions.py or correct the spec",
            )
        wanted.setdefault(view, []).append(feature)
    return FeatureService(
        name=spec.features.service,
        features=[views[view][features] for view, features in wanted.items()],
        description=spec.description,
        owner=spec.owner,
    )


if "PERENNIAL_FEAST_DIR" in os.environ:
    # The `feast` command line collects Feast objects among a module's global names.
    from perennial import catalog

    _folder = Path(os.environ["PERENNIAL_FEAST_DIR"]) / "offline"
    globals().update(
        {f"{type(item).__name__}_{item.name}": item for item in definitions(_folder, catalog.specs())}
    )
