"""Prediction requests by entity or with named inputs: validation of the body, and the features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from perennial.serving.manifest import ServedManifest, example_columns
from perennial.serving.online.columns import FeatureColumns

KEYS = frozenset({"entities", "context", "allow_unknown", "explain", "explain_class"})
ROW_KEYS = frozenset({"rows", "explain", "explain_class"})
"""Keys of a request to a model whose caller sends the inputs."""


class OnlineValues(Protocol):
    """A source of feature values; see serving.online_features."""

    def columns(self, service: str, given: Mapping[str, Sequence[Any]]) -> FeatureColumns: ...

    async def fetch(self, service: str, given: Mapping[str, Sequence[Any]]) -> FeatureColumns: ...


# Not frozen: every request makes one, and a frozen one takes several times as long to make.
@dataclass(slots=True)
class EntityRequest:
    """A validated body of `predict`."""

    entities: list[dict[str, Any]]
    """Entity keys; the inputs where the caller sends them."""
    rows: list[dict[str, Any]]
    """Subjects of the predictions, a row per entity: keys and sent inputs."""
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
    _check(entities, keys, manifest)
    context = context_of(body.get("context", {}), manifest)
    return EntityRequest(
        entities, entities, context, flag(body, "allow_unknown"), *requested(body, manifest.task)
    )


def _check(entities: list[Any], keys: set[str], manifest: ServedManifest) -> None:
    """Refuse an entity with other keys, or with a value that is no key."""
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


def context_of(given: Any, manifest: ServedManifest) -> dict[str, Any]:
    """Return the request values in their types.

    Raises:
        MalformedInput: a value is missing, unknown or wrong.
    """
    wanted = manifest.request
    if not isinstance(given, dict) or set(given) != set(wanted):
        got = sorted(given) if isinstance(given, dict) else given
        raise MalformedInput(f"context has {brief(got)}", hint=f"it must have exactly {dict(wanted)}")
    return {name: _request_value(name, kind, given[name]) for name, kind in wanted.items()}


def _request_value(name: str, kind: str, value: Any) -> Any:
    """Return the value in its type; a timestamp (ISO 8601 with zone, or unix seconds) as unix seconds."""
    number = (
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= limits.LARGEST_VALUE
    )
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
        f"context.{name} is {brief(value)}",
        hint=hint.get(kind, f"it must be {kind}, at most {limits.LARGEST_VALUE:g}"),
    )


def _moment(value: Any) -> float | None:
    """Return an ISO 8601 text with a zone as unix seconds; None if it is none."""
    try:
        moment = datetime.fromisoformat(value)
        return None if moment.tzinfo is None else moment.timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


async def features(
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
    count = len(request.entities)
    read = await _read(request, manifest, source())
    if read.unknown and not request.allow_unknown:
        unknown = [request.entities[number] for number in sorted(read.unknown)]
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise UnknownEntity(
            f"no features are known for {brief(unknown[:5])}{more}",
            hint="check the keys, publish features, or send allow_unknown: true",
        )
    typed = dict.fromkeys(columns_of(manifest.inputs))
    missing = [name for name in manifest.features if name not in typed and name not in read.columns]
    if missing and len(read.unknown) < count:
        raise FeaturesUnavailable(
            f"the feature service lacks {missing}", hint="publish features for this model's service"
        )
    nothing = (None,) * count
    plain = [read.columns.get(name, nothing) for name in manifest.features if name not in typed]
    # By way of float64, as float() converts; None becomes NaN. The columns of a single row are read as one list, since
    # NumPy takes long to find out the shape of many short ones.
    values: Sequence[Any] = [column[0] for column in plain] if count == 1 else plain
    numbers = np.array(values, dtype=np.float64).reshape(len(plain), count).T.astype(np.float32, order="C")
    if read.unknown:
        numbers[sorted(read.unknown)] = np.nan
    if not manifest.inputs:
        return numbers
    sent = set(manifest.sent)
    columns = {
        name: [entity[name] for entity in request.entities]
        if name in sent
        else [
            None if number in read.unknown else value
            for number, value in enumerate(read.columns.get(name, nothing))
        ]
        for name in manifest.inputs
    }
    place_of = {name: place for place, name in enumerate(manifest.features)}
    features = np.empty((count, len(manifest.features)), dtype=np.float32)
    features[:, [place for name, place in place_of.items() if name not in typed]] = numbers
    features[:, [place_of[name] for name in typed]] = encode(manifest.inputs, columns, count)
    return features


async def _read(request: EntityRequest, manifest: ServedManifest, source: OnlineValues) -> FeatureColumns:
    """Read the values; a failure that another row does not share is the request's.

    Raises:
        MalformedInput: the store answers a row of its own, but not the request.
    """
    service, count = manifest.feature_service or "", len(request.entities)
    given: dict[str, Sequence[Any]] = {
        key: [entity[key] for entity in request.entities] for key in manifest.entities
    }
    given |= {name: [value] * count for name, value in request.context.items()}
    try:
        return await source.fetch(service, given)
    except MalformedInput:
        raise
    except Exception as error:  # noqa: BLE001 Feast and its transformations have exceptions without a common base class
        try:
            await source.fetch(service, example_columns(manifest))
        except Exception:  # noqa: BLE001 as above
            raise _unavailable(error) from error
        try:
            return await source.fetch(service, given)  # the first failure may have passed
        except Exception as again:
            raise MalformedInput(
                f"the feature service cannot use context {brief(request.context)}: {type(again).__name__}",
                hint="check the entities and the values of the context",
            ) from again


def _unavailable(error: Exception) -> PerennialError:
    if isinstance(error, PerennialError):
        return error
    return FeaturesUnavailable(f"Feast failed: {error}", hint="run `perennial features publish`")
