"""Predictions by entity: from a request body to the rows that the feature store is asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import numpy as np

from perennial.errors import FeaturesUnavailable, MalformedInput, UnknownEntity
from perennial.serving.manifest import ServedManifest

KEYS = frozenset({"entities", "context", "allow_unknown", "explain"})


class OnlineValues(Protocol):
    """Where feature values come from (see serving.online_features)."""

    def values(self, service: str, rows: list[dict[str, Any]]) -> list[dict[str, Any] | None]: ...


@dataclass(frozen=True)
class EntityRequest:
    """A checked body of `predict`."""

    entities: list[dict[str, Any]]
    rows: list[dict[str, Any]]
    """Entity keys and request values, one row per entity."""
    context: dict[str, Any]
    """The request values alone."""
    allow_unknown: bool
    explain: bool
    """The caller also asks what moved each score."""


def parse(body: Any, manifest: ServedManifest) -> EntityRequest:
    """Check a body against what the model wants to know.

    Raises:
        MalformedInput: names the key or the value that is wrong, and what is wanted.
    """
    if manifest.feature_service is None:
        raise MalformedInput(
            f"{manifest.model} has no feature service",
            hint=f"send tensors to /v2/models/{manifest.model}/infer",
        )
    entities = body.get("entities") if isinstance(body, dict) else None
    keys = set(manifest.entities)
    if not isinstance(entities, list) or not entities:
        raise MalformedInput(
            "the body has no list `entities`", hint=f"one object per entity with {sorted(keys)}"
        )
    unknown = set(body) - KEYS
    if unknown:
        raise MalformedInput(f"unknown keys {sorted(unknown)}", hint=f"known: {', '.join(sorted(KEYS))}")
    for number, entity in enumerate(entities):
        if not isinstance(entity, dict) or set(entity) != keys:
            raise MalformedInput(f"entity {number} is {entity!r}", hint=f"its keys must be {sorted(keys)}")
        if not all(isinstance(value, str | int) and value != "" for value in entity.values()):
            raise MalformedInput(
                f"entity {number} is {entity!r}", hint="values are non-empty text or integers"
            )
    context = _context(body.get("context", {}), manifest)
    rows = [{**entity, **context} for entity in entities]
    return EntityRequest(entities, rows, context, _flag(body, "allow_unknown"), _flag(body, "explain"))


def _flag(body: dict[str, Any], name: str) -> bool:
    given = body.get(name, False)
    if not isinstance(given, bool):
        raise MalformedInput(f"{name} is {given!r}", hint="true or false")
    return given


def _context(given: Any, manifest: ServedManifest) -> dict[str, Any]:
    wanted = manifest.request
    if not isinstance(given, dict) or set(given) != set(wanted):
        got = sorted(given) if isinstance(given, dict) else given
        raise MalformedInput(f"context has {got}", hint=f"it must have exactly {dict(wanted)}")
    return {name: _request_value(name, kind, given[name]) for name, kind in wanted.items()}


def _request_value(name: str, kind: str, value: Any) -> Any:
    """int, float and string as they are; a timestamp (ISO 8601 with zone, or unix seconds) as unix seconds."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if kind == "string" and isinstance(value, str):
        return value
    if kind == "int" and number and float(value).is_integer():
        return int(value)
    if kind in ("float", "timestamp") and number:
        return float(value)
    if kind == "timestamp" and isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
        if moment is not None and moment.tzinfo is not None:
            return moment.timestamp()
    hint = {"timestamp": "ISO 8601 with a zone, such as 2015-12-01T10:00:00Z, or unix seconds"}
    raise MalformedInput(f"context.{name} is {value!r}", hint=hint.get(kind, f"it must be {kind}"))


def features(request: EntityRequest, manifest: ServedManifest, source: OnlineValues) -> np.ndarray:
    """Read the values of all entities, float32 [n, features]; NaN where a value is not known.

    Raises:
        UnknownEntity: names up to five entities that nobody has seen (unless allowed: then all NaN).
        FeaturesUnavailable: the store does not answer, or lacks a feature that the model needs.
    """
    values = source.values(manifest.feature_service or "", request.rows)
    strange = [entity for entity, found in zip(request.entities, values, strict=True) if found is None]
    if strange and not request.allow_unknown:
        more = f" and {len(strange) - 5} more" if len(strange) > 5 else ""
        raise UnknownEntity(
            f"no features are known for {strange[:5]}{more}",
            hint="check the keys, publish features, or send allow_unknown: true",
        )
    return np.array([_row(found, manifest.features) for found in values], dtype=np.float32)


def _row(found: dict[str, Any] | None, names: Sequence[str]) -> list[float]:
    if found is None:
        return [math.nan] * len(names)
    missing = [name for name in names if name not in found]
    if missing:
        raise FeaturesUnavailable(
            f"the feature service does not give {missing}", hint="publish features for this model's service"
        )
    return [math.nan if found[name] is None else float(found[name]) for name in names]
