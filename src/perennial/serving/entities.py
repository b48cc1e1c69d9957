"""Prediction requests by entity or with named inputs: validation of the body, and the features."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import numpy as np

from perennial import limits
from perennial.core.input_encoding import encode
from perennial.core.input_spec import columns_of, in_order
from perennial.core.tasks.windows import Windows
from perennial.errors import FeaturesUnavailable, MalformedInput, PerennialError, UnknownEntity
from perennial.serving.answers import brief, flag
from perennial.serving.explanation import requested
from perennial.serving.manifest import ServedManifest, example_row

KEYS = frozenset({"entities", "context", "allow_unknown", "explain", "explain_class"})
ROW_KEYS = frozenset({"rows", "explain", "explain_class"})
"""Keys of a request to a model whose caller sends the inputs."""
LARGEST = 1e15
"""Largest number of a request: larger ones are not exact, or leave float32 in a model."""


class OnlineValues(Protocol):
    """A source of feature values; see serving.online_features."""

    def values(self, service: str, rows: list[dict[str, Any]]) -> list[dict[str, Any] | None]: ...


@dataclass(frozen=True)
class EntityRequest:
    """A validated body of `predict`."""

    entities: list[dict[str, Any]]
    """Entity keys; the inputs where the caller sends them."""
    rows: list[dict[str, Any]]
    """Entity keys and request values, a row per entity."""
    context: dict[str, Any]
    """Request values only."""
    allow_unknown: bool
    explain: bool
    """True when the caller also wants attributions."""
    explained_class: int | None = None
    """Place of the class to explain; None: that of each answer."""


def parse(body: Any, manifest: ServedManifest) -> EntityRequest:
    """Validate a body against the manifest of the model.

    Raises:
        MalformedInput: a key or value is wrong or missing; the hint says what is expected.
    """
    if manifest.feature_service is None:
        if manifest.inputs:
            return _rows(body, manifest)
        raise MalformedInput(
            f"{manifest.model} has no feature service",
            hint=f"send tensors to /v2/models/{manifest.model}/infer",
        )
    entities = body.get("entities") if isinstance(body, dict) else None
    keys = {*manifest.entities, *manifest.sent}
    if not isinstance(entities, list) or not entities:
        raise MalformedInput(
            "the body has no list `entities`", hint=f"send an object per entity with {sorted(keys)}"
        )
    if len(entities) > limits.ROWS:
        raise MalformedInput(f"{len(entities)} entities", hint=f"send at most {limits.ROWS} per request")
    _only(body, KEYS)
    for number, entity in enumerate(entities):
        if not isinstance(entity, dict) or set(entity) != keys:
            raise MalformedInput(
                f"entity {number} is {brief(entity)}", hint=f"its keys must be {sorted(keys)}"
            )
        if not all(_is_key(entity[key]) for key in manifest.entities):
            raise MalformedInput(
                f"entity {number} is {brief(entity)}", hint="values must be non-empty text or integers"
            )
        for name, value in entity.items():
            _require_short(f"{name} of entity {number}", value)
    context = _context(body.get("context", {}), manifest)
    rows = [{**{key: entity[key] for key in manifest.entities}, **context} for entity in entities]
    return EntityRequest(
        entities, rows, context, flag(body, "allow_unknown"), *requested(body, manifest.task)
    )


def _rows(body: Any, manifest: ServedManifest) -> EntityRequest:
    """Validate a body with named inputs; `features` checks their values."""
    rows = body.get("rows") if isinstance(body, dict) else None
    names = set(manifest.inputs)
    if not isinstance(rows, list) or not rows:
        hint = f"send an object per row with {', '.join(manifest.inputs)}"
        raise MalformedInput("the body has no list `rows`", hint=hint[:500])
    if len(rows) > limits.ROWS:
        raise MalformedInput(f"{len(rows)} rows", hint=f"send at most {limits.ROWS} per request")
    _only(body, ROW_KEYS)
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise MalformedInput(f"row {number} is {brief(row)}", hint="a row is an object of inputs")
    if (windows := manifest.task.windows) is not None:
        named, inputs = _forecasts(rows, windows, several=windows.names(True)[-1] in names)
        return EntityRequest(named, inputs, {}, False, *requested(body, manifest.task))
    for number, row in enumerate(rows):
        if set(row) != names:
            lacking, strange = sorted(names - set(row)), sorted(set(row) - names)
            raise MalformedInput(
                f"row {number} lacks {brief(lacking)} and has the unknown {brief(strange)}",
                hint="name every input; null is a missing value",
            )
        for name, value in row.items():
            _require_short(f"{name} of row {number}", value)
    return EntityRequest(rows, rows, {}, False, *requested(body, manifest.task))


def _forecasts(
    rows: list[dict[str, Any]], windows: Windows, several: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return names and inputs of each step ahead of each request row."""
    if len(rows) * windows.horizon > limits.ROWS:
        raise MalformedInput(
            f"{len(rows)} rows of {windows.horizon} steps each",
            hint=f"send at most {limits.ROWS // windows.horizon} rows per request",
        )
    for number, row in enumerate(rows):
        for name, value in row.items():
            _require_short(f"{name} of row {number}", value)
    return windows.expand(rows, several)


def _is_key(value: Any) -> bool:
    # A bool is an int in Python; as the key of an entity it would be a mistake of the caller.
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""


def _only(body: dict[str, Any], known: frozenset[str]) -> None:
    unknown = set(body) - known
    if unknown:
        raise MalformedInput(
            f"unknown keys {brief(sorted(unknown))}", hint=f"known: {', '.join(sorted(known))}"
        )


def _require_short(name: str, value: Any) -> None:
    if isinstance(value, str) and len(value) > limits.TEXT:
        raise MalformedInput(
            f"{name} has {len(value)} characters", hint=f"send at most {limits.TEXT} characters per value"
        )


def _context(given: Any, manifest: ServedManifest) -> dict[str, Any]:
    wanted = manifest.request
    if not isinstance(given, dict) or set(given) != set(wanted):
        got = sorted(given) if isinstance(given, dict) else given
        raise MalformedInput(f"context has {brief(got)}", hint=f"it must have exactly {dict(wanted)}")
    return {name: _request_value(name, kind, given[name]) for name, kind in wanted.items()}


def _request_value(name: str, kind: str, value: Any) -> Any:
    """Return the value in its type; a timestamp (ISO 8601 with zone, or unix seconds) as unix seconds."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
    if kind == "string" and isinstance(value, str):
        _require_short(f"context.{name}", value)
        return value
    if kind == "int" and number and float(value).is_integer():
        return int(value)
    if kind == "float" and number:
        return float(value)
    if kind == "timestamp":
        moment = float(value) if number else _moment(value)
        if moment is not None and limits.FIRST_MOMENT <= moment <= limits.LAST_MOMENT:
            return moment
    hint = {
        "timestamp": "ISO 8601 with a zone, such as 2015-12-01T10:00:00Z, or unix seconds; from 1970 to 2099"
    }
    raise MalformedInput(
        f"context.{name} is {brief(value)}", hint=hint.get(kind, f"it must be {kind}, at most {LARGEST:g}")
    )


def _moment(value: Any) -> float | None:
    """Return an ISO 8601 text with a zone as unix seconds; None if it is none."""
    try:
        moment = datetime.fromisoformat(value)
        return None if moment.tzinfo is None else moment.timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


def features(
    request: EntityRequest, manifest: ServedManifest, source: Callable[[], OnlineValues]
) -> np.ndarray:
    """Return the feature values of all rows, float32 [n, features]; an unknown value is NaN.

    Args:
        source: returns the online store; not called for a model whose caller sends the inputs.

    Raises:
        MalformedInput: an input has a wrong value; names row and input.
        UnknownEntity: the store has no features of an entity and the request does not allow that (else all NaN);
            names up to five entities.
        FeaturesUnavailable: the store does not answer, or lacks a feature that the model needs.
    """
    if manifest.feature_service is None and manifest.inputs:
        inputs = in_order(manifest.inputs, manifest.features)
        columns = {name: [row[name] for row in request.rows] for name in inputs}
        return encode(inputs, columns, len(request.rows))
    values = _values(request, manifest, source())
    unknown = [entity for entity, row in zip(request.entities, values, strict=True) if row is None]
    if unknown and not request.allow_unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise UnknownEntity(
            f"no features are known for {brief(unknown[:5])}{more}",
            hint="check the keys, publish features, or send allow_unknown: true",
        )
    place_of = {name: place for place, name in enumerate(manifest.features)}
    typed = dict.fromkeys(columns_of(manifest.inputs))
    plain = [name for name in manifest.features if name not in typed]
    if not manifest.inputs:
        return np.array([_row(row, plain) for row in values], dtype=np.float32)
    features = np.full((len(values), len(manifest.features)), np.nan, dtype=np.float32)
    places = [place_of[name] for name in plain]
    features[:, places] = np.array([_row(row, plain) for row in values], dtype=np.float32).reshape(
        len(values), -1
    )
    sent = set(manifest.sent)
    columns = {
        name: [entity[name] for entity in request.entities]
        if name in sent
        else [None if row is None else row.get(name) for row in values]
        for name in manifest.inputs
    }
    places = [place_of[name] for name in typed]
    features[:, places] = encode(manifest.inputs, columns, len(values))
    return features


def _values(
    request: EntityRequest, manifest: ServedManifest, source: OnlineValues
) -> list[dict[str, Any] | None]:
    """Read the values; a failure that another row does not share is the request's.

    Raises:
        MalformedInput: the store answers a row of its own, but not the request.
    """
    service = manifest.feature_service or ""
    try:
        return source.values(service, request.rows)
    except MalformedInput:
        raise
    except Exception as error:  # noqa: BLE001 Feast and its transformations have exceptions without a common base class
        try:
            source.values(service, [example_row(manifest)])
        except Exception:  # noqa: BLE001 as above
            raise _unavailable(error) from error
        try:
            return source.values(service, request.rows)  # the first failure may have passed
        except Exception as again:
            raise MalformedInput(
                f"the feature service cannot use context {brief(request.context)}: {type(again).__name__}",
                hint="check the entities and the values of the context",
            ) from again


def _unavailable(error: Exception) -> PerennialError:
    if isinstance(error, PerennialError):
        return error
    return FeaturesUnavailable(f"Feast failed: {error}", hint="run `perennial features publish`")


def _row(values: dict[str, Any] | None, names: Sequence[str]) -> list[float]:
    if values is None:
        return [math.nan] * len(names)
    missing = [name for name in names if name not in values]
    if missing:
        raise FeaturesUnavailable(
            f"the feature service lacks {missing}", hint="publish features for this model's service"
        )
    return [math.nan if values[name] is None else float(values[name]) for name in names]
