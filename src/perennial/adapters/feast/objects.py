"""Feast objects: stored views from YAML, on-demand views from Python, a feature service for each model."""

from __future__ import annotations

import importlib.util
import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from feast import Entity, FeatureService, FeatureView, Field, FileSource
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.types import Array, Bool, FeastType, Float32, Float64, Int64, String, UnixTimestamp
from feast.value_type import ValueType

from perennial import catalog
from perennial.core.feature_view import ArrayType, ColumnType, ViewSpec
from perennial.core.spec import ModelSpec
from perennial.errors import SpecError

LOG = logging.getLogger(__name__)
WINDOWS = "windows"
"""Tag of a view whose features are functions of past events."""
SIZE = "size"
"""Tag of a feature that is an array: how many numbers each value has."""
TYPES: Mapping[ColumnType, FeastType] = {
    ColumnType.FLOAT: Float64,
    ColumnType.INT: Int64,
    ColumnType.BOOL: Bool,
    ColumnType.STRING: String,
    ColumnType.TIMESTAMP: UnixTimestamp,
}


def definitions(repo: Path, folder: Path, specs: Iterable[ModelSpec]) -> list[Any]:
    """Return every Feast object.

    A spec that names a view or a feature that is not defined gets no service; the log names it.

    Args:
        repo: folder `feature_repo` of a project: a Python file for each on-demand view.
        folder: has a `<view>.parquet` per stored view; it need not exist yet.
    """
    views = catalog.feature_views(repo.parent)
    entities = {
        name: Entity(name=name, join_keys=[name], value_type=ValueType.STRING)
        for name in dict.fromkeys(view.entity for view in views.values())
    }
    stored = {name: _stored(view, entities[view.entity], folder) for name, view in views.items()}
    by_name: dict[str, Any] = {**stored, **_on_demand(repo, stored)}
    services = []
    for spec in specs:
        if spec.features.source != "store":
            continue
        try:
            services.append(_service(spec, by_name))
        except SpecError as error:  # it stops its own model: that has no service, and its training fails
            LOG.error("%s (%s)", error.message, error.hint)
    return [*entities.values(), *by_name.values(), *services]


def windows_of(view: FeatureView) -> ViewSpec | None:
    """Return the spec of a view whose features are functions of past events; None for any other view."""
    meaning = view.tags.get(WINDOWS)
    return None if meaning is None else ViewSpec.model_validate(json.loads(meaning) | {"description": ""})


def _stored(view: ViewSpec, entity: Entity, folder: Path) -> FeatureView:
    event, created = ("event_timestamp", None) if view.windows else (view.times.event, view.times.created)
    source = FileSource(
        name=f"{view.name}_file",
        path=str(folder / f"{view.name}.parquet"),
        timestamp_field=event,
        created_timestamp_column=created or "",
    )
    return FeatureView(
        name=view.name,
        entities=[entity],
        # With the key: without it Feast must read the file to learn the join key.
        schema=[
            Field(name=entity.join_key, dtype=String),
            *(_field(name, kind) for name, kind in view.features.items()),
        ],
        source=source,
        ttl=view.ttl,
        description=view.description,
        tags={WINDOWS: view.meaning} if view.windows else {},
    )


def _field(name: str, kind: ColumnType | ArrayType) -> Field:
    # Feast has no size of an array: the tag keeps it.
    if isinstance(kind, ArrayType):
        return Field(name=name, dtype=Array(Float32), tags={SIZE: str(kind.size)})
    return Field(name=name, dtype=TYPES[kind])


def _on_demand(repo: Path, stored: Mapping[str, FeatureView]) -> dict[str, OnDemandFeatureView]:
    """Return the views that the files of `repo` make, by name; the log names a file that makes none."""
    made = {}
    for path in catalog.on_demand_files(repo.parent):
        spec = importlib.util.spec_from_file_location(f"perennial_feature_view_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
        try:
            spec.loader.exec_module(module)  # type: ignore[union-attr]
            view = module.view(stored)
        except Exception as error:  # noqa: BLE001 code of others; it stops the models that use it only
            LOG.error("%s makes no on-demand view: %s: %s", path, type(error).__name__, error)
            continue
        if isinstance(view, OnDemandFeatureView) and view.name == path.stem:
            made[path.stem] = view
        else:
            LOG.error("%s: `view` must return the on-demand view %s", path, path.stem)
    return made


def _service(spec: ModelSpec, views: Mapping[str, Any]) -> FeatureService:
    wanted: dict[str, list[str]] = {}
    for column in spec.features.columns:
        view, feature = column.split(":", 1)
        if view not in views or feature not in {field.name for field in views[view].features}:
            raise SpecError(
                f"{spec.name}: no feature {column!r} is defined",
                hint=f"views: {', '.join(views)}; define it in configs/features or correct the spec",
            )
        field = next(field for field in views[view].features if field.name == feature)
        given = spec.features.inputs.get(feature)
        if field.dtype in (String, UnixTimestamp, Array(Float32)) and given is None:
            raise SpecError(
                f"{spec.name}: {column} is no number",
                hint=f"features.inputs of the spec says how the model reads it: {feature}: {{type: ...}}",
            )
        size = None if given is None or given.size is None else str(given.size)
        if size != field.tags.get(SIZE):
            raise SpecError(
                f"{spec.name}: {column} is {_shown(field.tags.get(SIZE))}, features.inputs says {_shown(size)}",
                hint=f"give both the same type and size: {{type: array, size: {field.tags.get(SIZE, '...')}}}",
            )
        wanted.setdefault(view, []).append(feature)
    return FeatureService(
        name=spec.features.service,
        features=[views[view][features] for view, features in wanted.items()],
        description=spec.description,
        owner=spec.owner,
    )


def _shown(size: str | None) -> str:
    return "no array" if size is None else f"an array of {size}"
